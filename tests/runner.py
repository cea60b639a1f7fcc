"""`manage.py test` runs the same suite as `make test`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


class PytestRunner:
    """Hands over to pytest. Labels are paths, or dotted names as Django has them."""

    def __init__(self, verbosity: int = 1, failfast: bool = False, **options: Any) -> None:
        self._options = ["-v"] if verbosity > 1 else []
        self._options += ["--exitfirst"] if failfast else []

    @classmethod
    def add_arguments(cls, parser: Any) -> None:
        """None beyond Django's own."""

    def run_tests(self, labels: list[str], **options: Any) -> int:
        """How many failed: 0 where all passed, else pytest's exit code."""
        paths = [label if Path(label).exists() else label.replace(".", "/") for label in labels]
        return int(pytest.main([*self._options, *paths]))
