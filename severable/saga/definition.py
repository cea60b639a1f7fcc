"""The parts of a saga."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Data = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a saga. Each function gets the saga's data, a JSON object that it may change.

    action        calls another context, outside any transaction. It may run again after an unknown
                  outcome, so it must carry a key that makes a second time harmless.
    compensation  takes back what the action did, may have done, or may yet do if it arrives late.
                  Without one there is nothing to take back.
    on_success    changes this context's own tables, in the transaction that logs the step. If it
                  raises a DomainError, the action is compensated too.
    """

    name: str
    action: Callable[[Data], None]
    compensation: Callable[[Data], None] | None = None
    on_success: Callable[[Data], None] | None = None


@dataclass(frozen=True)
class Definition:
    """A saga: steps that all succeed or, after a domain error, are compensated in reverse order.

    `on_compensated` runs in the transaction that ends a compensated saga. If the outcome of a step
    is still unknown when the saga is older than `timeout`, the step counts as failed, and is
    compensated too. Without a timeout, a saga repeats the step until it knows.
    """

    name: str
    context: str
    steps: tuple[Step, ...]
    on_compensated: Callable[[Data, str, str], None] | None = None
    timeout: timedelta | None = timedelta(hours=1)


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


@contextmanager
def overridden(*definitions: Definition) -> Iterator[None]:
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
