"""Deadlines: absolute, and propagated. Work done for a call has the remaining time of the call."""

from __future__ import annotations

from contextvars import ContextVar, Token
from time import monotonic
from typing import NamedTuple


class _Budget(NamedTuple):
    ends: float | None = None
    serving: bool = False


_UNLIMITED = _Budget()
_current: ContextVar[_Budget] = ContextVar("deadline", default=_UNLIMITED)


class _Within:
    # A class because every call uses it: contextlib's generators cost five times as much.
    def __init__(self, seconds: float | None, serving: bool) -> None:
        self._seconds, self._serving = seconds, serving

    def __enter__(self) -> None:
        ends, serving = _current.get()
        if self._seconds is not None:
            own = monotonic() + self._seconds
            ends = own if ends is None else min(own, ends)
        self._token: Token[_Budget] = _current.set(_Budget(ends, serving or self._serving))

    def __exit__(self, *error: object) -> None:
        _current.reset(self._token)


def within(seconds: float | None) -> _Within:
    """Return a context manager that limits what runs in it to `seconds`, and never to more than
    the outer deadline. None adds no limit."""
    return _Within(seconds, serving=False)


def serving_a_call(seconds: float | None) -> _Within:
    """Return the same as `within`, for work on a call from another context."""
    return _Within(seconds, serving=True)


def serving() -> bool:
    """Return whether the current work serves a call from another context."""
    return _current.get().serving


def remaining() -> float | None:
    """Return the remaining seconds (never below 0), or None if there is no deadline."""
    ends = _current.get().ends
    return None if ends is None else max(0.0, ends - monotonic())


def passed() -> bool:
    """Return True if there is a deadline and it has passed."""
    return remaining() == 0.0
