"""Deadlines: absolute, and handed down. Work done for a call gets what is left of its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

_serving: ContextVar[bool] = ContextVar("serving", default=False)
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Everything done inside has at most this many seconds, and never more than was left."""
    left = remaining()
    if seconds is None or (left is not None and left < seconds):
        yield
        return
    token = _deadline.set(monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def serving_a_call(seconds: float | None) -> Iterator[None]:
    """The same, for work that another context has called for."""
    token = _serving.set(True)
    try:
        with within(seconds):
            yield
    finally:
        _serving.reset(token)


def serving() -> bool:
    """Whether what is being done was called for by another context."""
    return _serving.get()


def remaining() -> float | None:
    """Seconds that are left (never below 0), or None where nobody has set a deadline."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - monotonic())


def passed() -> bool:
    """True where there is a deadline and it is over."""
    return remaining() == 0.0
