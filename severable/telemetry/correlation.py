"""The correlation of work: its cause and actor, propagated from request to event to handler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from uuid_utils.compat import uuid7


@dataclass(frozen=True)
class Correlation:
    """The cause and the actor of work: `id` is the same for everything that one request caused,
    `causation` is the direct cause, an event, and `actor` is, for example, "user-7"."""

    id: str
    causation: str = ""
    actor: str = ""


_current: ContextVar[Correlation | None] = ContextVar("correlation", default=None)


def active() -> Correlation | None:
    """Return the correlation of the current work, or None if none is set."""
    return _current.get()


def current() -> Correlation:
    """Return the active correlation, or a new one."""
    return _current.get() or Correlation(id=str(uuid7()))


@contextmanager
def correlated(correlation: Correlation) -> Iterator[None]:
    """Set the correlation of everything that runs in the block."""
    token = _current.set(correlation)
    try:
        yield
    finally:
        _current.reset(token)


def acting(actor: str) -> None:
    """Set the actor of everything that follows. Called once the caller is authenticated."""
    _current.set(replace(current(), actor=actor))
