"""The state of a circuit breaker: closed, open, or half-open for a single trial."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Circuit:
    """A circuit that opens after `failures` failures in a row, for `seconds`. Then it admits a
    single trial, whose result closes it or opens it again.

    Every `enter` that returns an epoch must be followed by `leave` or `give_up`.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limit, self._seconds, self._clock = failures, seconds, clock
        self._failed, self._opened, self._trying = 0, 0.0, False
        self._epoch = 0  # counts openings: the result of an attempt from before one is ignored
        self._lock = threading.Lock()

    def enter(self) -> int | None:
        """Return the epoch that this attempt belongs to, or None if it must not be made."""
        with self._lock:
            if self._failed >= self._limit:
                if self._trying or self._clock() < self._opened + self._seconds:
                    return None
                self._trying = True
            return self._epoch

    def leave(self, epoch: int, failed: bool) -> None:
        """Record how an attempt ended."""
        with self._lock:
            if epoch != self._epoch:
                return
            self._trying = False
            self._failed = self._failed + 1 if failed else 0
            if self._failed >= self._limit:
                self._opened, self._epoch = self._clock(), self._epoch + 1

    def give_up(self, epoch: int) -> None:
        """Record that an attempt was aborted without a result. If it was the trial, allow another
        one."""
        with self._lock:
            if epoch == self._epoch:
                self._trying = False
