"""docs/machine.md has every public name of the package, with an example that compiles."""

from __future__ import annotations

import re
from importlib import import_module
from textwrap import indent

import pytest

from tests.processes import ROOT

TEXT = (ROOT / "docs/machine.md").read_text()
SECTIONS = dict(re.findall(r"^## (severable\.\w+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
ENTRY = re.compile(r"^### `(\w+)`\n\n([^\n]+)\n\n```python\n(.*?)\n```$", re.M | re.S)
ENTRIES = [(package, *entry) for package, body in SECTIONS.items() for entry in ENTRY.findall(body)]
FILES = [
    *ROOT.glob("severable/*/__init__.py"),
    *(ROOT / "severable" / module for module in ("errors.py", "rows.py")),
]
DOORS = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in FILES
    if re.search(r"^__all__ = ", file.read_text(), re.M)
]
MAX_LINES = 5


def test_the_page_has_every_package_with_public_names() -> None:
    assert sorted(SECTIONS) == sorted(DOORS)


@pytest.mark.parametrize("package", SECTIONS)
def test_the_page_has_every_public_name_once(package: str) -> None:
    """A name that was added, removed or renamed without its description."""
    documented = re.findall(r"^### `?(.+?)`?$", SECTIONS[package], re.M)
    assert sorted(documented) == sorted(import_module(package).__all__)
    assert [name for name in documented if (package, name) not in {e[:2] for e in ENTRIES}] == []


@pytest.mark.parametrize(("package", "name", "sentence", "example"), ENTRIES)
def test_an_entry_is_a_sentence_and_an_example(
    package: str, name: str, sentence: str, example: str
) -> None:
    """A name that does not exist; an example that is long, no Python, or of another name."""
    assert hasattr(import_module(package), name)
    assert sentence.endswith(".")
    assert re.search(rf"\b{name}\b", example)
    assert len(example.splitlines()) <= MAX_LINES
    compile(f"async def example():\n{indent(example, '    ')}", name, "exec")
