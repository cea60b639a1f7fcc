"""An upstream on a real socket. It records its requests and sends a given response."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SILENCE = b"(says nothing until it is stopped)"


@dataclass
class Asked:
    """One request as it was received."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header field, one for each occurrence."""
        return [value for n, value in self.headers if n.lower() == name.lower()]


@dataclass
class Upstream:
    """An upstream that sends `answer` as it is. With `breaks_off` it then closes the connection."""

    listener: socket.socket
    answer: bytes = OK
    breaks_off: bool = False
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while asked := _read(stream):
                self.asked.append(asked)
                if self.answer == SILENCE:
                    self.stopped.wait(10)
                    return
                connection.sendall(self.answer)
                if self.breaks_off:
                    return


def _read(stream: BufferedReader) -> Asked | None:
    line = stream.readline().decode("latin-1").rstrip("\r\n")
    if not line:
        return None
    headers = []
    while header := stream.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = header.partition(":")
        headers.append((name, value.strip()))
    asked = Asked(line, headers, b"")
    asked.body = stream.read(int((asked.all("Content-Length") or ["0"])[0]))
    return asked


@contextmanager
def upstream(**told: Any) -> Iterator[Upstream]:
    """Run an upstream until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Upstream(listener, **told)
        threading.Thread(target=running.serve, daemon=True).start()
        try:
            yield running
        finally:
            running.stopped.set()
            with suppress(OSError):  # a test may have done so
                listener.shutdown(socket.SHUT_RDWR)
