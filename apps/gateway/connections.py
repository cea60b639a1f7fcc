"""HTTP/1.1 connections to one address of a context, on the event loop.

aiohttp's client would take more time for a request than all the rest of the gateway
(docs/decisions/0021-forwarding-and-threads.md).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ssl import SSLContext
from time import monotonic
from typing import Any, cast

from apps.gateway.response import Reader, Response

KEPT_SECONDS = 5.0  # an idle connection: less than the upstream keeps it


class NotConnected(Exception):
    """There is no connection, so nothing was sent."""


@dataclass(frozen=True)
class Outgoing:
    """A request as it is written to a connection."""

    head: bytes
    body: bytes
    is_head: bool = False


class Connections:
    """The connections to one address (host:port)."""

    def __init__(self, address: str, tls: SSLContext | None, name: str) -> None:
        """With TLS, the certificate must have the `name`."""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls: dict[str, Any] = {"ssl": tls, "server_hostname": name} if tls else {}
        self._kept: list[Connection] = []

    async def get(self, seconds: float) -> Connection:
        """Return a kept connection, or a new one.

        Raises NotConnected if it takes longer than so many seconds.
        """
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable():
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                made = await loop.create_connection(
                    lambda: Connection(self._kept), self._host, self._port, **self._tls
                )
        except (OSError, TimeoutError) as error:
            raise NotConnected(str(error) or "no connection in time") from None
        return made[1]

    def close(self) -> None:
        """Close all idle connections."""
        while self._kept:
            self._kept.pop().close()


class Connection(asyncio.Protocol):
    """One connection, for one exchange at a time."""

    def __init__(self, kept: list[Connection]) -> None:
        """`kept` are the idle connections, to which this one returns after an exchange."""
        self._kept, self._kept_since = kept, 0.0
        self._reader: Reader | None = None
        self._waiter: asyncio.Future[Response]

    async def exchange(self, request: Outgoing, seconds: float, longest: int) -> Response:
        """Send a request and return its response, whose body has at most `longest` bytes.

        Raises Broken, NotForwardable, or TimeoutError after so many seconds.
        """
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._reader = Reader(request.is_head, longest)
        self._transport.write(request.head)
        if request.body:
            self._transport.write(request.body)
        timer = loop.call_later(seconds, self._fail, TimeoutError())
        reusable = False
        try:
            response = await self._waiter
            reusable = response.reusable and not self._transport.get_write_buffer_size()
            return response
        finally:
            timer.cancel()
            self._reader = None
            if reusable:
                self._kept_since = monotonic()
                self._kept.append(self)
            else:
                self.close()

    def is_usable(self) -> bool:
        """Return whether the connection is open, and was used a short time ago."""
        recent = monotonic() - self._kept_since < KEPT_SECONDS
        return recent and not self._transport.is_closing()

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._waiter.done():
            self.close()  # there is no request that it could respond to
            return
        try:
            response = self._reader.feed(data)
        except Exception as error:
            self._fail(error)
        else:
            if response:
                self._waiter.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        if self._reader:
            self._fail(self._reader.broken(str(error) if error else "the connection was closed"))
        elif self in self._kept:
            self._kept.remove(self)

    def _fail(self, error: Exception) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(error)
