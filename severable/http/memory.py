"""A limit on the memory that slow clients can occupy."""

from __future__ import annotations

from http import HTTPStatus

from rest_framework.exceptions import APIException

from severable.api.errors import RETRY_AFTER

BUDGET = 64 * 1024 * 1024


class Busy(APIException):
    """The process is overloaded."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "Try again in a moment."
    wait = RETRY_AFTER


class Share:
    """The memory that one request takes from a budget.

    A small part is free, so that small bodies pass however much memory large ones occupy. The
    number of connections limits these parts.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory, self._taken = memory, 0

    def grow(self, size: int) -> None:
        """Grow the share to this size in bytes. Raises Busy if the budget is exhausted."""
        more = max(0, size - self._memory.free) - self._taken
        if more > self._memory.left:
            raise Busy
        self._memory.left -= more
        self._taken += more

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *error: object) -> None:
        self._memory.left += self._taken


class Memory:
    """A budget of bytes, to use on the event loop only."""

    def __init__(self, budget: int = BUDGET, free: int = 16 * 1024) -> None:
        self.left, self.free = budget, free

    def share(self) -> Share:
        """Return an empty share, which is released when its block ends."""
        return Share(self)
