"""The apps of a Django project, and its modules as syntax trees with their imports resolved."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

SKIPPED = {"node_modules", "site-packages", "venv", "env", "build", "dist", "static", "tests"}


class ProjectError(Exception):
    """A path that cannot be read as a Django project. The text says why."""


@dataclass(frozen=True)
class App:
    """A Django app: a package with models, migrations or an AppConfig."""

    label: str
    package: str  # dotted, such as "shop.orders"


@dataclass(frozen=True)
class Module:
    """One parsed file."""

    name: str  # dotted
    path: Path  # relative to the project
    tree: ast.Module
    is_package: bool

    @cached_property
    def names(self) -> dict[str, str]:
        """Return the dotted origin of each name that the file imports, also inside functions."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    found[bound] = alias.name if alias.asname else bound
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{self.origin(node)}.{alias.name}"
        return found

    def origin(self, node: ast.ImportFrom) -> str:
        """Return the absolute name of the module that a `from … import` names."""
        if not node.level:
            return node.module or ""
        package = self.name.split(".")
        kept = package[: len(package) - node.level + self.is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def resolve(self, node: ast.expr) -> str:
        """Return the dotted origin of a name or an attribute, "" for any other expression."""
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return f"{base}.{node.attr}" if base else ""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, f"{self.name}.{node.id}")
        return ""


@dataclass
class Project:
    """The modules of a project, and the apps that own them."""

    apps: dict[str, App]  # by label
    modules: list[Module]
    skipped: list[str] = field(default_factory=list)  # files that could not be parsed, and why

    @cached_property
    def _by_package(self) -> dict[str, App]:
        return {app.package: app for app in self.apps.values()}

    def owner(self, dotted: str) -> App | None:
        """Return the app whose package contains this dotted name, the innermost if several do."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            if app := self._by_package.get(".".join(parts[:length])):
                return app
        return None

    @cached_property
    def user_model(self) -> str:
        """Return AUTH_USER_MODEL of the settings, Django's own "auth.User" if none sets it."""
        for module in self.modules:
            for node in module.tree.body:
                if (
                    isinstance(node, ast.Assign)
                    and any(getattr(each, "id", "") == "AUTH_USER_MODEL" for each in node.targets)
                    and isinstance(node.value, ast.Constant)
                ):
                    return str(node.value.value)
        return "auth.User"


def read(root: Path) -> Project:
    """Parse a project.

    Args:
        root: the folder of the project, or one that contains it.

    Raises:
        ProjectError: it is no folder, or no Django app is in it.
    """
    if not root.is_dir():
        raise ProjectError(f"{root} is not a folder")
    modules, skipped = [], []
    for path in _files(root):
        try:
            modules.append(_parsed(path, root))
        except (SyntaxError, ValueError) as error:
            skipped.append(f"{path.relative_to(root)}: {error}")
    apps = _apps(modules)
    if not apps:
        raise ProjectError(
            f"{root} has no Django app: no package in it has models, migrations or an AppConfig"
        )
    return Project(apps, modules, skipped)


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("."))
        for file in sorted(files):
            if file.endswith(".py") and not file.startswith(("test_", "tests.", "conftest.")):
                yield Path(folder, file)


def _parsed(path: Path, root: Path) -> Module:
    is_package = path.name == "__init__.py"
    base = path.parent
    parts = [] if is_package else [path.stem]
    while (base / "__init__.py").exists() and base != base.parent:
        parts.insert(0, base.name)
        base = base.parent
    tree = ast.parse(path.read_bytes(), str(path))
    return Module(".".join(parts), path.relative_to(root), tree, is_package)


def _apps(modules: list[Module]) -> dict[str, App]:
    """Return the apps by label: packages with migrations, Django's models, or an AppConfig."""
    labels: dict[str, str] = {}
    configured: dict[str, str] = {}
    for module in modules:
        package, _, leaf = module.name.rpartition(".")
        if (
            (leaf == "migrations" and module.is_package)
            or (leaf == "models" and _imports_models(module))
            or (leaf == "apps" and not module.is_package and _has_config(module))
        ):
            labels[package] = package.rpartition(".")[2]
        if leaf == "apps" and (label := _configured_label(module.tree)):
            configured[package] = label
    labels |= {package: configured[package] for package in labels.keys() & configured}
    return {label: App(label, package) for package, label in sorted(labels.items()) if package}


def _imports_models(module: Module) -> bool:
    return any(origin.startswith("django.") and ".db" in origin for origin in module.names.values())


def _has_config(module: Module) -> bool:
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef)]
    return any("Config" in module.resolve(base) for node in classes for base in node.bases)


def _configured_label(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Assign)
            and any(getattr(each, "id", "") == "label" for each in node.targets)
            and isinstance(node.value, ast.Constant)
        ):
            return str(node.value.value)
    return ""
