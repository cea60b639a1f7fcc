"""The package's structure: layers, public names, no import in a circle, contexts apart."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

from django.conf import settings

from tests.processes import ROOT
from tests.sources import imported, sources

PACKAGE = "severable"
DOORS = {
    *("admin", "api", "caching", "errors", "events", "http", "jobs", "rows", "rpc", "saga"),
    *("telemetry", "topology"),
}
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def public(module: str) -> set[str]:
    """The names that a package offers; of a plain module, all that it defines."""
    found = import_module(module)
    return set(getattr(found, "__all__", vars(found)))


def test_contexts_import_only_public_names() -> None:
    """What a context uses by a longer way breaks when the package is upgraded."""
    wrong = [
        f"{file.relative_to(ROOT)} imports {name} from {module}"
        for file in sources("apps")
        for module, name in imported(file)
        if module.split(".")[0] == PACKAGE
        and (module.removeprefix(f"{PACKAGE}.") not in DOORS or name not in public(module))
    ]
    assert wrong == [], f"import from {PACKAGE}.{{{', '.join(sorted(DOORS))}}} instead"


def test_public_names_are_there_and_each_has_one_home() -> None:
    """A name that a package promises and does not have fails at its first use, in production."""
    homes: dict[str, list[str]] = {}
    for door in sorted(DOORS - {"errors"}):
        package = import_module(f"{PACKAGE}.{door}")
        for name in package.__all__:
            assert getattr(package, name) is not None
            homes.setdefault(name, []).append(door)
    assert {name: doors for name, doors in homes.items() if len(doors) > 1} == {}


def test_no_module_imports_in_a_circle() -> None:
    """Also by imports inside functions, which hide a circle from Python but not from a reader."""
    files = {module_of(file): file for file in sources(PACKAGE, "apps", "tools")}
    graph = {
        module: set(_imports(file, files)) - {module}
        for module, file in files.items()
        if file.name != "__init__.py"  # a package offers names of the modules below it
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def _imports(file: Path, known: dict[str, Path]) -> Iterator[str]:
    for module, name in imported(file):
        full = f"{module}.{name}"
        yield full if full in known else module


def test_every_context_is_kept_apart_from_the_others() -> None:
    """A seventh context could import another one's models, and everything stayed green."""
    [apart] = [c["modules"] for c in LINTER["contracts"] if c["type"] == "independence"]
    assert sorted(apart) == sorted(f"apps.{context}" for context in settings.TOPOLOGY.contexts)


def test_no_layer_is_left_out() -> None:
    """The contract orders every package; one that is not in it could import anything."""
    layers = next(c for c in LINTER["contracts"] if c["type"] == "layers")
    assert layers["exhaustive"] and layers["containers"] == [PACKAGE]
    assert "ignore_imports" not in layers


def test_no_module_of_the_package_is_a_drawer() -> None:
    drawers = {"utils", "common", "helpers", "base", "misc"}
    # Django names the module of a database backend.
    backend = ROOT / PACKAGE / "config/postgresql/base.py"
    assert not {file.stem for file in sources(PACKAGE) if file != backend} & drawers


def test_files_of_the_package_are_short() -> None:
    long = {module_of(f): f.read_text().count("\n") for f in sources(PACKAGE, "shop", "apps")}
    assert {module: lines for module, lines in long.items() if lines > 300} == {}


def test_functions_are_short() -> None:
    long = {
        f"{module_of(file)}.{node.name}": lines
        for file in sources(PACKAGE, "shop", "apps")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - _first_statement(node).lineno + 1) > 40
    }
    assert long == {}


def _first_statement(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    documented = ast.get_docstring(function) and len(function.body) > 1
    return function.body[1 if documented else 0]


def test_docstrings_begin_with_what_a_thing_does_or_is() -> None:
    """A first line such as "Where it stands" leaves the reader to guess what is returned."""
    wrong = [
        f"{module_of(file)}.{getattr(node, 'name', '')}: {documented.splitlines()[0]}"
        for file in sources(PACKAGE, "shop", "apps", "tools")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        and (documented := ast.get_docstring(node))
        and documented.split()[0] in {"What", "Who", "Whom", "Whoever", "Whether", "Where", "How"}
    ]
    assert wrong == []
