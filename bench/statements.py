"""A proxy in front of PostgreSQL that counts the statements of each process kind.

It reads the frontend's messages (PostgreSQL's protocol, version 3): a simple query ("Q") or an
execution ("E") is one statement. It costs time, so figures of speed are taken without it.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from urllib.parse import urlsplit

from bench.machine import KINDS
from bench.servers import DATABASE
from bench.start import free_port

STATEMENTS = {b"Q", b"E"}


class CountingProxy:
    """A proxy that runs in a thread; `counts` has the statements by application_name."""

    def __init__(self) -> None:
        server = urlsplit(DATABASE)
        self._server = server.hostname or "127.0.0.1", server.port or 5432
        self.port = free_port()
        self.counts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def through(self, url: str) -> str:
        """Return a database's URL by way of this proxy."""
        parts = urlsplit(url)
        user = parts.netloc.rpartition("@")[0]
        where = f"{user}@127.0.0.1:{self.port}" if user else f"127.0.0.1:{self.port}"
        return parts._replace(netloc=where).geturl()

    def by_kind(self) -> Counter[str]:
        """Return the statements by kind of process: the second word of application_name."""
        found: Counter[str] = Counter()
        for name, number in self.counts.items():
            kind = name.partition(" ")[2].partition(" ")[0]
            found[kind if kind in KINDS else "other"] += number
        return found

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        )
        self._started.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        back = asyncio.create_task(_copy(from_server, writer))
        try:
            await self._count(reader, to_server)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            back.cancel()
            to_server.close()
            writer.close()

    async def _count(self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        name = await _start(reader, to_server)
        while True:
            head = await reader.readexactly(5)
            (length,) = struct.unpack("!i", head[1:])
            to_server.write(head + await reader.readexactly(length - 4))
            if head[:1] in STATEMENTS:
                self.counts[name] += 1


async def _start(reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> str:
    """Pass the first messages on, and return the application_name of the last."""
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!ii", head)
        rest = await reader.readexactly(length - 8)
        to_server.write(head + rest)
        if code >> 16 == 3:  # the start-up message; before it may come a request for TLS
            words = rest.split(b"\0")
            return (
                dict(zip(words[::2], words[1::2], strict=False))
                .get(b"application_name", b"")
                .decode()
            )


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
