"""The source files of the repository, and what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.processes import ROOT


def sources(*folders: str) -> Iterator[Path]:
    """Every file that is written by hand, without migrations and a context's own tests."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            written = "migrations" not in file.parts and "_pb2" not in file.name
            if written and not is_test_of_app(file):
                yield file


def is_test_of_app(file: Path) -> bool:
    """Return whether a file is apps/<context>/tests.py, or below apps/<context>/tests/."""
    parts = file.relative_to(ROOT).parts
    return parts[0] == "apps" and any(part in ("tests", "tests.py") for part in parts[2:3])


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Every (module, name) that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
