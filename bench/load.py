"""A client for proxies: connections that each send one GET after the other, in one event loop."""

from __future__ import annotations

import asyncio
import time

CONNECTIONS = 32


class Connection(asyncio.Protocol):
    """Sends a request again when its response is whole, until the common count is reached.

    Responses need a Content-Length; nothing else of them is read.
    """

    def __init__(self, request: bytes, load: Load) -> None:
        self._request, self._load = request, load
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._load.add(time.perf_counter() - self._start, head.startswith(b"HTTP/1.1 200"))
            self._data = b""
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.end()

    def _send(self) -> None:
        if self._load.started < self._load.total:
            self._load.started += 1
            self._start = time.perf_counter()
            self._transport.write(self._request)
        else:
            self._transport.close()


class Load:
    """So many requests over the connections, and what they took."""

    def __init__(self, port: int, path: str, total: int) -> None:
        self.total, self.started = total, 0
        self.seconds: list[float] = []
        self.failures = 0
        self._port, self._open = port, CONNECTIONS
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    def add(self, seconds: float, good: bool) -> None:
        """Note a response."""
        self.seconds.append(seconds)
        self.failures += not good

    def end(self) -> None:
        """Note that a connection is closed."""
        self._open -= 1
        if not self._open:
            self._done.set()

    def run(self) -> float:
        """Send all requests, and return the seconds until the last response. Raises RuntimeError
        if a response is not 200 or a connection is closed early."""
        took = asyncio.run(self._run())
        if self.failures or len(self.seconds) < self.total:
            good = len(self.seconds) - self.failures
            raise RuntimeError(f"port {self._port}: only {good} of {self.total} responses are 200")
        return took

    async def _run(self) -> float:
        self._done = asyncio.Event()
        loop, start = asyncio.get_running_loop(), time.perf_counter()
        for _ in range(CONNECTIONS):
            await loop.create_connection(
                lambda: Connection(self._request, self), "127.0.0.1", self._port
            )
        await self._done.wait()
        return time.perf_counter() - start


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("a response has no Content-Length")
