"""What a saga consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Data = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a saga. Each function gets the saga's data, a JSON object that it may change.

    do    asks another context, outside any transaction. It may come again after an unknown
          outcome, so it must carry a key that makes a second time harmless.
    undo  takes back what `do` did, or may have done, or may yet do when it arrives late.
          Without one there is nothing to take back.
    then  changes this context's own tables, in the transaction that logs the step. A Refusal
          from it counts as one of the step, and `do` is undone too.
    """

    name: str
    do: Callable[[Data], None]
    undo: Callable[[Data], None] | None = None
    then: Callable[[Data], None] | None = None


@dataclass(frozen=True)
class Definition:
    """A saga: steps that are all done or, after a refusal, undone backwards.

    `undone` runs in the transaction that ends an undone saga. A step whose outcome is still
    unknown when the saga is older than `patience` counts as refused, and is undone too. Without
    patience a saga asks until it knows.
    """

    name: str
    context: str
    steps: tuple[Step, ...]
    undone: Callable[[Data, str, str], None] | None = None
    patience: timedelta | None = timedelta(hours=1)


_definitions: dict[str, Definition] = {}


def define(definition: Definition) -> Definition:
    """Make a saga known, so that it can be resumed by its name."""
    if definition.name in _definitions:
        raise ValueError(f"there are two sagas {definition.name!r}")
    _definitions[definition.name] = definition
    return definition


def named(name: str) -> Definition:
    """A saga's definition. Raises LookupError."""
    if name not in _definitions:
        raise LookupError(f"no saga {name!r} here")
    return _definitions[name]
