"""A circuit breaker's state: when to leave somebody alone who does not answer, and when to try."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Circuit:
    """After so many failures in a row nobody is let in for a while; then a single one is, to try,
    and how that ends decides.

    Whoever was let in by `enter` must say how it ended: `leave`, or `give_up`.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limit, self._seconds, self._clock = failures, seconds, clock
        self._failed, self._opened, self._trying = 0, 0.0, False
        self._era = 0  # counts openings: what began before one says nothing after it
        self._lock = threading.Lock()

    def enter(self) -> int | None:
        """The era that this attempt belongs to, or None where it must not be made."""
        with self._lock:
            if self._failed >= self._limit:
                if self._trying or self._clock() < self._opened + self._seconds:
                    return None
                self._trying = True
            return self._era

    def leave(self, era: int, failed: bool) -> None:
        """The attempt has ended."""
        with self._lock:
            if era != self._era:
                return
            self._trying = False
            self._failed = self._failed + 1 if failed else 0
            if self._failed >= self._limit:
                self._opened, self._era = self._clock(), self._era + 1

    def give_up(self, era: int) -> None:
        """The attempt was broken off: it says nothing, but must not be the trial that never
        ends."""
        with self._lock:
            if era == self._era:
                self._trying = False
