"""The ASGI application of a web process.

Everything that a slow or a broken client can delay runs on the event loop: the body is buffered,
within limits, before a thread is used, and the response is sent after the thread is released.
Django itself stays synchronous (docs/decisions/0004-web-server.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from django.conf import settings
from rest_framework.exceptions import APIException

from severable import heartbeat
from severable.http.answer import PART, Answer, Scope, environ_of, json_answer, problem_of
from severable.http.body import Bodies, Receive
from severable.http.memory import Busy, Memory
from severable.http.threads import Threads
from severable.rpc.client.rest import MAX_MESSAGE_BYTES
from severable.telemetry.middleware import PROBES

log = logging.getLogger(__name__)

READ_SECONDS = 60.0  # for a client to read its response

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Forward(Protocol):
    """The interface of a forwarder: it answers some requests on the event loop, without Django."""

    def route(self, environ: dict[str, Any]) -> Callable[[bytes], Awaitable[Answer]] | None:
        """Return a function from the request's body to its response, or None for Django."""

    async def close(self) -> None:
        """Release connections, because the process ends."""


async def _beat() -> None:
    while True:
        heartbeat.beat()
        await asyncio.sleep(heartbeat.SECONDS)


class Front:
    """The application: answers `/health/live`, reads bodies, and calls `forward` or Django."""

    def __init__(
        self, threads: Threads, forward: Forward | None = None, bodies: Bodies | None = None
    ) -> None:
        self._threads, self._forward, self._bodies = threads, forward, bodies or Bodies()
        self._response_memory = Memory(free=PART)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._send(await self._answer(scope, receive), scope, send)

    async def _send(self, answer: Answer, scope: Scope, send: Send) -> None:
        with self._response_memory.share() as share:
            try:
                share.grow(len(answer.body))
            except Busy as error:
                answer = problem_of(error, environ_of(scope))
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_SECONDS):
                    await answer.send(scope, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        beating = asyncio.create_task(_beat())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        beating.cancel()
        if self._forward:
            await self._forward.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        environ = environ_of(scope)
        if scope["path"] == "/health/live":
            return json_answer(200, {"status": "ok"}, environ)
        public = not scope["path"].startswith("/internal/")
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if public else MAX_MESSAGE_BYTES
        try:
            async with self._bodies.read(environ, limit, receive) as body:
                return await self._handle(environ, body)
        except APIException as error:
            # The rest of the body must not be parsed as the next request.
            return problem_of(error, environ, Connection="close")
        except Exception as error:
            log.exception("%s %s", scope["method"], scope["path"])
            return problem_of(error, environ)

    async def _handle(self, environ: dict[str, Any], body: bytes) -> Answer:
        probe = environ["PATH_INFO"] in PROBES
        route = None if probe or self._forward is None else self._forward.route(environ)
        try:
            return await (route(body) if route else self._threads.run(environ, body))
        except Busy as error:
            return problem_of(error, environ)
