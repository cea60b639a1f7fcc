"""The bodies of requests, which are buffered before a request is processed.

RFC 9112 6.3: if the length of a body is ambiguous, its rest may be parsed as another request
(request smuggling). A body that is too large, late, incomplete or ambiguous is rejected.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException, ParseError

from severable.api.parsers import TooLarge
from severable.http.head import Head
from severable.http.memory import Memory, Share

SECONDS = 10.0  # for a whole body
MAX_DISCARDED = 8 * 1024 * 1024  # of a too large body: unread, its sender never sees the 413
DISCARD_SECONDS = 2.0

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Late(APIException):
    """The body did not arrive in time."""

    status_code = HTTPStatus.REQUEST_TIMEOUT
    default_code = "timeout"
    default_detail = "The body did not arrive in time."


class Bodies:
    """A reader of bodies that limits the memory that they use."""

    def __init__(self, seconds: float = SECONDS, memory: Memory | None = None) -> None:
        self._seconds, self._memory = seconds, memory or Memory()

    @asynccontextmanager
    async def read(self, head: Head, limit: int, receive: Receive) -> AsyncIterator[bytes]:
        """Yield a whole body, which counts against the memory budget until the block ends.

        `limit` is in bytes. Raises APIException.
        """
        length = _length(head)
        if length == 0:
            yield b""
            return
        with self._memory.share() as share:
            async with _in_time(self._seconds):
                body = await _buffered(receive, limit, share) if (length or 0) <= limit else None
            if body is None:
                await _discard(receive)
                raise TooLarge(f"The body is larger than {limit} bytes.")
            if length is not None and len(body) != length:
                raise ParseError("The body is shorter than its Content-Length.")
            yield body


async def _buffered(receive: Receive, limit: int, share: Share) -> bytes | None:
    """Return the body, or None if it is too large."""
    body = bytearray()
    async for part in _parts(receive):
        body += part
        if len(body) > limit:
            return None
        share.grow(len(body))
    return bytes(body)


def _length(head: Head) -> int | None:
    """Return the declared length of the body, or None if it is chunked."""
    has_length, chunked = b"content-length" in head.fields, b"transfer-encoding" in head.fields
    length, coding = head.field(b"content-length"), head.field(b"transfer-encoding")
    if not chunked:
        if not re.fullmatch(r"[0-9]{1,18}", length or "0"):
            raise ParseError("It is not clear how long the body is.")
        return int(length or 0)
    if has_length or coding.strip(" \t").lower() != "chunked":
        raise ParseError("It is not clear how long the body is.")
    return None


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ParseError("The body is incomplete.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Late from None


async def _discard(receive: Receive) -> None:
    left = MAX_DISCARDED
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            async for part in _parts(receive):
                left -= len(part)
                if left < 0:
                    return
    except (TimeoutError, ParseError):
        return
