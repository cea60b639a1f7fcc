"""How much memory slow clients can hold."""

from __future__ import annotations

from http import HTTPStatus

from rest_framework.exceptions import APIException

from severable.api.errors import RETRY_AFTER

BUDGET = 64 * 1024 * 1024


class Busy(APIException):
    """There is too much to do."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "Try again in a moment."
    wait = RETRY_AFTER


class Share:
    """What one request takes of a budget. A small part is free, so that what is small goes
    through, however much large bodies hold: connections bound it."""

    def __init__(self, memory: Memory) -> None:
        self._memory, self._taken = memory, 0

    def grow(self, size: int) -> None:
        """Let it be of this size. Raises Busy when there is no room."""
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
    """A budget of bytes, for the event loop alone."""

    def __init__(self, budget: int = BUDGET, free: int = 16 * 1024) -> None:
        self.left, self.free = budget, free

    def share(self) -> Share:
        """Nothing yet; given back when the block ends."""
        return Share(self)
