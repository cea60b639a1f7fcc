"""Places where the code of one app depends on another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tools.walls.project import Module, Project
from tools.walls.relations import Model, Models

LOOKUPS = ("filter", "exclude", "get", "annotate", "aggregate")
PATHS = ("order_by", "values", "values_list", "select_related", "prefetch_related", "only", "defer")


class Kind(StrEnum):
    """The kinds of a crossing."""

    FOREIGN_KEY = "foreign key"
    IMPORT = "import"
    LOOKUP = "lookup"
    SIGNAL = "signal"
    MIGRATION = "migration"


REPLACEMENTS = {
    Kind.FOREIGN_KEY: "an id without a constraint",
    Kind.IMPORT: "a call of the contract",
    Kind.LOOKUP: "a call, or a read model",
    Kind.SIGNAL: "an event",
    Kind.MIGRATION: "nothing: it ends with the foreign key",
}


@dataclass(frozen=True, order=True)
class Crossing:
    """One place where the code of an app uses another app."""

    source: str  # the label of the app whose code it is
    target: str  # the label of the app that it uses
    kind: Kind
    place: str  # file:line
    what: str


def find(project: Project) -> list[Crossing]:
    """Return all crossings between the apps of a project, sorted."""
    models = Models(project)
    found = set(_foreign_keys(project, models))
    for module in project.modules:
        owner = project.owner(module.name)
        if owner is None:
            continue
        for target, kind, line, what in _uses(project, models, module):
            if target != owner.label:
                found.add(Crossing(owner.label, target, kind, f"{module.path}:{line}", what))
    return sorted(found)


def _foreign_keys(project: Project, models: Models) -> Iterator[Crossing]:
    for model in models.all:
        for relation in model.relations:
            target = models.find(relation.target)
            label = target.app if target else relation.target.partition(".")[0]
            if label in project.apps and label != model.app:
                place = f"{relation.module.path}:{relation.line}"
                what = f"{model.name}.{relation.name} → {relation.target.rpartition('.')[2]}"
                yield Crossing(model.app, label, Kind.FOREIGN_KEY, place, what)


Use = tuple[str, Kind, int, str]


def _uses(project: Project, models: Models, module: Module) -> Iterator[Use]:
    if ".migrations." in module.name:
        yield from _dependencies(project, module)
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(project, module, node)
        elif isinstance(node, ast.Call):
            yield from _lookups(models, module, node)
            yield from _signals(project, module, node)
            yield from _loaded(project, node)


def _dependencies(project: Project, module: Module) -> Iterator[Use]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "dependencies":
            for pair in getattr(node.value, "elts", []):
                parts = [getattr(each, "value", "") for each in getattr(pair, "elts", [])]
                if len(parts) == 2 and parts[0] in project.apps:
                    yield parts[0], Kind.MIGRATION, pair.lineno, ".".join(map(str, parts))


def _imports(project: Project, module: Module, node: ast.Import | ast.ImportFrom) -> Iterator[Use]:
    for alias in node.names:
        name = alias.name
        if isinstance(node, ast.ImportFrom):
            name = f"{module.origin(node)}.{name}"
        if owner := project.owner(name):
            yield owner.label, Kind.IMPORT, node.lineno, name


def _lookups(models: Models, module: Module, call: ast.Call) -> Iterator[Use]:
    """Yield each step into another app by a lookup of `Model.objects`, as far as it can be seen."""
    method = getattr(call.func, "attr", "")
    if method in LOOKUPS:
        paths = [each.arg for each in call.keywords if each.arg]
    elif method in PATHS:
        paths = [str(a.value) for a in call.args if isinstance(a, ast.Constant)]
    else:
        return
    start = _queried(models, module, call.func)
    if start is None:
        return
    for path in paths:
        model = start
        for part in path.lstrip("-").split("__"):
            following = models.follow(model, part)
            if following is None:
                break
            if following.app != model.app:
                yield following.app, Kind.LOOKUP, call.lineno, f"{start.name}: {path}"
            model = following


def _queried(models: Models, module: Module, node: ast.expr) -> Model | None:
    """Return the model at whose manager a chain of query methods begins."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
        if isinstance(node, ast.Attribute) and node.attr in ("objects", "_default_manager"):
            return models.find(module.resolve(node.value))
    return None


def _signals(project: Project, module: Module, call: ast.Call) -> Iterator[Use]:
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    for option in call.keywords if name in ("receiver", "connect") else []:
        sender = option.value
        if option.arg == "sender":
            text = str(sender.value) if isinstance(sender, ast.Constant) else module.resolve(sender)
            owner = project.owner(text) or project.apps.get(text.partition(".")[0])
            if owner:
                yield owner.label, Kind.SIGNAL, call.lineno, text.rpartition(".")[2]


def _loaded(project: Project, call: ast.Call) -> Iterator[Use]:
    """Yield the app of `get_model("app.Model")` or `get_model("app", "Model")`: a late import."""
    name = getattr(call.func, "attr", "") or getattr(call.func, "id", "")
    texts = [str(each.value) for each in call.args if isinstance(each, ast.Constant)]
    if name == "get_model" and texts and (label := texts[0].partition(".")[0]) in project.apps:
        yield label, Kind.IMPORT, call.lineno, f"get_model {'.'.join(texts)}"
