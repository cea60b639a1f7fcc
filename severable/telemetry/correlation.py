"""Why something is being done, and for whom: carried along from request to event to handler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from uuid_utils.compat import uuid7


@dataclass(frozen=True)
class Correlation:
    """`id` is the same for all that one request set off, `causation` is the event that set
    this off, `actor` is who asked, such as "user-7"."""

    id: str
    causation: str = ""
    actor: str = ""


_current: ContextVar[Correlation | None] = ContextVar("correlation", default=None)


def active() -> Correlation | None:
    """The correlation of what is being done; None where nobody has set one."""
    return _current.get()


def current() -> Correlation:
    """The same, or a new one."""
    return _current.get() or Correlation(id=str(uuid7()))


@contextmanager
def correlated(correlation: Correlation) -> Iterator[None]:
    """Everything done inside belongs to this."""
    token = _current.set(correlation)
    try:
        yield
    finally:
        _current.reset(token)


def acting(actor: str) -> None:
    """From here on, this actor is the one who asked. Called once the caller is known."""
    _current.set(replace(current(), actor=actor))
