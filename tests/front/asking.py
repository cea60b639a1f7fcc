"""Requests to ASGI applications as a server makes them, and raw connections to real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Answered:
    """A response as a server would send it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header field."""
        return [value for n, value in self.headers if n.lower() == name.lower()]


def scope_of(method: str, target: str, headers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the ASGI scope of a request."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", "80"),
    }


async def asked(app: Any, scope: dict[str, Any], parts: list[bytes | None]) -> Answered:
    """Return the response to a request whose body arrives in parts.

    None stands for a client that has disconnected. After the parts, nothing arrives.
    """
    messages = [
        {"type": "http.disconnect"}
        if part is None
        else {"type": "http.request", "body": part, "more_body": True}
        for part in parts
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in sent[0]["headers"]]
    return Answered(sent[0]["status"], headers, b"".join(m["body"] for m in sent[1:]))


@contextmanager
def held(address: str, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    """Open so many connections, each of which sends `start` and then nothing."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            sockets.append(stack.enter_context(socket.create_connection((host, int(port)), 20)))
            sockets[-1].sendall(start)
        yield sockets


def exchanged(address: str, request: bytes, *, ends: bool = False) -> bytes:
    """Return all bytes that the server sends until it closes the connection.

    With `ends`, the client closes its side after the request.
    """
    with held(address, 1, request) as [connection]:
        if ends:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        answer = b""
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionResetError:
            pass
        return answer
