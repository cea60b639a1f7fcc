"""Deadlines: absolute, and handed down. Work done for a call gets what is left of its time."""

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
    # A class, for every call passes through here: contextlib's generators cost five times as much.
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
    """Everything done inside this context has at most so many seconds, and never more than was
    left. None adds no limit."""
    return _Within(seconds, serving=False)


def serving_a_call(seconds: float | None) -> _Within:
    """The same, for work that another context has called for."""
    return _Within(seconds, serving=True)


def serving() -> bool:
    """Whether what is being done was called for by another context."""
    return _current.get().serving


def remaining() -> float | None:
    """Seconds that are left (never below 0), or None where nobody has set a deadline."""
    ends = _current.get().ends
    return None if ends is None else max(0.0, ends - monotonic())


def passed() -> bool:
    """True where there is a deadline and it is over."""
    return remaining() == 0.0
