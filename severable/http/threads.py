"""Django's WSGI handler in a few threads, with a bounded queue of requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from io import BytesIO
from typing import Any

from severable.http.answer import HOP_BY_HOP, Answer
from severable.http.memory import Busy

THREADS = 8
WAITING = 128


class Threads:
    """A pool of threads for a WSGI application, with bodies and responses in memory."""

    def __init__(
        self, application: Callable[..., Any], threads: int = THREADS, waiting: int = WAITING
    ) -> None:
        self._application, self._max_in_flight = application, threads + waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._in_flight = 0
        self._lock = threading.Lock()

    async def run(self, environ: dict[str, Any], body: bytes) -> Answer:
        """Return the application's response. Raises Busy if too many requests wait."""
        with self._lock:
            if self._in_flight >= self._max_in_flight:
                raise Busy
            self._in_flight += 1
        environ = {name: value for name, value in environ.items() if name not in REPLACED}
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
        future = self._pool.submit(_call, self._application, environ)
        future.add_done_callback(self._complete)
        return await asyncio.wrap_future(future)

    def _complete(self, future: Future[Answer]) -> None:
        with self._lock:
            self._in_flight -= 1


REPLACED = {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"}


def _call(application: Callable[..., Any], environ: dict[str, Any]) -> Answer:
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        started[:] = int(status.split(maxsplit=1)[0]), headers

    response = application(environ, start_response)
    with closing(response) if hasattr(response, "close") else nullcontext():
        body = b"".join(response)
    status, headers = started
    encoded = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name.lower() not in HOP_BY_HOP
    ]
    return Answer(status, encoded, body)
