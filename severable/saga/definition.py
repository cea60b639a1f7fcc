"""The parts of a saga: its steps, and the dataclass with the data that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from typing import Any, Generic, TypeVar

D = TypeVar("D")


class UnreadableData(ValueError):
    """The data in a saga's row lack a field that the saga needs."""


@dataclass(frozen=True)
class Step(Generic[D]):
    """One step of a saga. Each function gets the saga's data, an instance of the definition's
    dataclass, and may change it.

    action        calls another context, outside any transaction. It may run again after an unknown
                  outcome, so the call must carry a key that makes it idempotent.
    compensation  reverts what the action did, may have done, or may still do if it arrives late.
                  None if there is nothing to revert.
    on_success    changes this context's own tables, in the transaction that logs the step. If it
                  raises a DomainError, the action is compensated too.
    read_only     whether the action only calls methods with the idempotency_level NO_SIDE_EFFECTS.
                  Such a step is not committed by itself: it is stored with the next step, and runs
                  again if the process dies before.
    """

    name: str
    action: Callable[[D], None]
    compensation: Callable[[D], None] | None = None
    on_success: Callable[[D], None] | None = None
    read_only: bool = False

    def __post_init__(self) -> None:
        if self.read_only and (self.compensation or self.on_success):
            raise ValueError(f"step {self.name!r} is read-only: it has nothing to commit or revert")


@dataclass(frozen=True)
class Definition(Generic[D]):
    """A saga: steps that all succeed or, after a domain error, are compensated in reverse order.

    `data` is a dataclass whose fields have JSON types. A field that is added in a later release
    needs a default: the rows of earlier releases do not have it.

    `on_compensated` runs in the transaction that ends a compensated saga, with the code and the
    detail of the domain error. If the outcome of a step is still unknown when the saga is older
    than `timeout`, the step counts as failed, and is compensated too. Without a timeout, a saga
    repeats the step until the outcome is known.
    """

    name: str
    context: str
    data: type[D]
    steps: tuple[Step[D], ...]
    on_compensated: Callable[[D, str, str], None] | None = None
    timeout: timedelta | None = timedelta(hours=1)

    def load(self, stored: Mapping[str, Any]) -> D:
        """Return the data of a row. Fields that are missing have their defaults; fields that are
        unknown are ignored here, and `dump` keeps them. Raises UnreadableData if a field without a
        default is missing."""
        known = fields(self.data)  # type: ignore[arg-type]  # a dataclass
        missing = [
            field.name
            for field in known
            if field.name not in stored
            and field.default is MISSING
            and field.default_factory is MISSING
        ]
        if missing:
            raise UnreadableData(f"the data of {self.name} lack {', '.join(missing)}")
        return self.data(**{f.name: stored[f.name] for f in known if f.name in stored})


def dump(data: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return data as JSON for the row. Fields of the row that the dataclass does not have, because
    another release wrote them, are kept."""
    return {**stored, **vars(data)}


_definitions: dict[str, Definition[Any]] = {}


def define(definition: Definition[D]) -> Definition[D]:
    """Register a saga, so that it can be resumed by its name."""
    if definition.name in _definitions:
        raise ValueError(f"there are two sagas {definition.name!r}")
    _definitions[definition.name] = definition
    return definition


def named(name: str) -> Definition[Any]:
    """Return a saga's definition. Raises LookupError."""
    if name not in _definitions:
        raise LookupError(f"no saga {name!r} here")
    return _definitions[name]


@contextmanager
def overridden(*definitions: Definition[Any]) -> Iterator[None]:
    """Let these be the only sagas within the context. At its end, those before are restored.

    For tests. Sagas that are defined within the context are added to these.
    """
    before = dict(_definitions)
    _definitions.clear()
    try:
        for definition in definitions:
            define(definition)
        yield
    finally:
        _definitions.clear()
        _definitions.update(before)
