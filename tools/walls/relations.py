"""The models of a project and their relations, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from tools.walls.project import Module, Project

RELATIONS = ("ForeignKey", "OneToOneField", "ManyToManyField")


@dataclass(frozen=True)
class Relation:
    """A relation of a model to another, at a place in the code."""

    name: str  # of the field
    target: str  # the dotted path of the model's class, or "label.Model"
    reverse: str  # the name for queries in the other direction, "" if there is none
    module: Module
    line: int


@dataclass
class Model:
    """A model's class: its app, bases and relations. Abstract classes are models, too."""

    path: str  # dotted
    app: str  # the label
    bases: list[str]
    relations: list[Relation] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


class Models:
    """All models, found by the path of their class or by "label.Model"."""

    def __init__(self, project: Project) -> None:
        self.all = [model for module in project.modules for model in _models(project, module)]
        self._by_path = {model.path: model for model in self.all}
        self._by_label = {f"{model.app}.{model.name}".lower(): model for model in self.all}
        self._reverse: dict[str, dict[str, Model]] = {}
        for model in self.all:
            for relation in model.relations:
                if (target := self.find(relation.target)) and relation.reverse:
                    names = self._reverse.setdefault(self._key(target), {})
                    names[relation.reverse] = self.find(f"{model.app}.{model.name}") or model

    @staticmethod
    def _key(model: Model) -> str:
        return f"{model.app}.{model.name}"

    def find(self, target: str) -> Model | None:
        """Return the model of a class's path, also where a package imports it from inside."""
        if found := self._by_path.get(target) or self._by_label.get(target.lower()):
            return found
        leaf = target.rpartition(".")[2]
        inside = [
            model
            for model in self.all
            if model.name == leaf and model.path.startswith(target.rpartition(".")[0] + ".")
        ]
        return inside[0] if len(inside) == 1 else None

    def follow(self, model: Model, name: str) -> Model | None:
        """Return the model to which a part of a lookup leads, None if it is no relation."""
        for each in self._lineage(model):
            for relation in each.relations:
                if relation.name == name:
                    return self.find(relation.target)
            if found := self._reverse.get(self._key(each), {}).get(name):
                return found
        return None

    def _lineage(self, model: Model) -> Iterator[Model]:
        """Yield the model and those that it inherits from, each once."""
        waiting, seen = [model], set()
        while waiting:
            each = waiting.pop(0)
            if each.path not in seen:
                seen.add(each.path)
                yield each
                waiting += [base for path in each.bases if (base := self._by_path.get(path))]


def _models(project: Project, module: Module) -> Iterator[Model]:
    owner = project.owner(module.name)
    if not owner or ".migrations" in module.name:
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and _is_model_module(module):
            bases = [module.resolve(base) for base in node.bases]
            model = Model(f"{module.name}.{node.name}", owner.label, [b for b in bases if b])
            model.relations = list(_relations(project, module, node, owner.label))
            yield model


def _is_model_module(module: Module) -> bool:
    parts = module.name.split(".")
    return "models" in parts or parts[-1].endswith("models")


def _relations(
    project: Project, module: Module, model: ast.ClassDef, label: str
) -> Iterator[Relation]:
    for node in model.body:
        name = _assigned(node)
        call = getattr(node, "value", None)
        if not name or not isinstance(call, ast.Call) or _called(call) not in RELATIONS:
            continue
        options = {each.arg: each.value for each in call.keywords}
        to = call.args[0] if call.args else options.get("to")
        target = _target(project, module, to, f"{label}.{model.name}")
        related = options.get("related_query_name") or options.get("related_name")
        reverse = related.value if isinstance(related, ast.Constant) else model.name.lower()
        if target:
            yield Relation(name, target, str(reverse).rstrip("+"), module, node.lineno)


def _assigned(node: ast.stmt) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return ""


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _target(project: Project, module: Module, to: ast.expr | None, own: str) -> str:
    """Return the target of a relation as a path or "label.Model", "" if it is computed."""
    if isinstance(to, ast.Constant) and isinstance(to.value, str):
        if to.value == "self":
            return own
        return to.value if "." in to.value else f"{own.partition('.')[0]}.{to.value}"
    if to is None:
        return ""
    path = module.resolve(to.func if isinstance(to, ast.Call) else to)
    if path.endswith(("AUTH_USER_MODEL", "get_user_model")):
        return project.user_model
    return path
