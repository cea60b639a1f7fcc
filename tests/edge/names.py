"""A name server of a test's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

A_RECORD = b"\x00\x01\x00\x01"
NO_SUCH_NAME = 3


@dataclass
class Names:
    """The IPv4 addresses of each name. A name may be added later."""

    socket: socket.socket
    known: dict[str, list[str]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        """Answer queries for A records until the socket is closed."""
        with suppress(OSError):
            while True:
                query, client = self.socket.recvfrom(512)
                if not query:
                    return
                self.socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        found = self.known.get(".".join(labels), [])
        flags = 0x8180 | (0 if found else NO_SUCH_NAME)
        counts = (1).to_bytes(2) + len(found).to_bytes(2) + bytes(4)
        records = b"".join(
            b"\xc0\x0c" + A_RECORD + (60).to_bytes(4) + (4).to_bytes(2) + socket.inet_aton(address)
            for address in found
        )
        return query[:2] + flags.to_bytes(2) + counts + query[12 : at + 5] + records


@contextmanager
def names(**known: list[str]) -> Iterator[Names]:
    """Run a name server for as long as the block lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        running = Names(listener, known)
        thread = threading.Thread(target=running.serve, daemon=True)
        thread.start()
        yield running
        listener.sendto(b"", listener.getsockname())
        thread.join()
