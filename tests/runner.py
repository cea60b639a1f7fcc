"""`manage.py test` runs the same suite as `make test`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import CommandError


class PytestRunner:
    """A test runner that calls pytest.

    Labels are paths, or dotted names as Django has them: of a context, such as `apps.orders`, whose
    tests are in `tests/orders` and in its own `tests.py`; of a module; or of a test in one.
    """

    def __init__(self, verbosity: int = 1, failfast: bool = False, **options: Any) -> None:
        self._options = ["-v"] if verbosity > 1 else []
        self._options += ["--exitfirst"] if failfast else []

    @classmethod
    def add_arguments(cls, parser: Any) -> None:
        """Add nothing to Django's own arguments."""

    def run_tests(self, labels: list[str], **options: Any) -> int:
        """Return 0 if all tests passed, else pytest's exit code. Raises CommandError."""
        try:
            import pytest
        except ImportError:
            raise CommandError("pytest is not installed; `make test` installs it.") from None
        paths = [path for label in labels for path in paths_of(label)]
        return int(pytest.main([*self._options, *paths]))


def paths_of(label: str) -> list[str]:
    """Return pytest's arguments for a label. Raises CommandError if there is no such test."""
    if Path(label.partition("::")[0]).exists():
        own = Path(label, "tests.py")
        context = Path("tests", Path(label).name)
        if Path(label).parent != Path("apps"):
            return [label]
        found = [str(path) for path in (context, own) if path.exists()]
    else:
        found = list(_dotted(label.split(".")))
    if not found:
        raise CommandError(f"{label}: there are no tests; give a path or a dotted name.")
    return found


def _dotted(parts: list[str]) -> list[str]:
    for length in range(len(parts), 0, -1):
        base, inside = Path(*parts[:length]), parts[length:]
        if base.with_suffix(".py").is_file():
            return ["::".join([f"{base}.py", *inside])]
        if base.is_dir() and not inside:
            return paths_of(str(base))
    return []
