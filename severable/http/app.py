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
from typing import Any

from django.conf import settings
from rest_framework.exceptions import APIException

from severable import heartbeat
from severable.http.answer import PART, Answer, json_answer, problem_of
from severable.http.body import Bodies, Receive
from severable.http.head import Head, Scope
from severable.http.memory import Busy, Memory
from severable.http.threads import Threads
from severable.rpc.client.rest import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

READ_SECONDS = 60.0  # for a client to read its response

Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Respond = Callable[[bytes], Awaitable[Answer]]


async def _beat() -> None:
    while True:
        heartbeat.beat()
        await asyncio.sleep(heartbeat.SECONDS)


class Exchanges:
    """Reads whole requests and sends whole responses, within limits of time and memory."""

    def __init__(self, bodies: Bodies | None = None) -> None:
        self._bodies = bodies or Bodies()
        self.response_memory = Memory(free=PART)

    async def run(self, head: Head, receive: Receive, send: Send, respond: Respond) -> None:
        """Read a request's body, call `respond` with it, and send the response or the error."""
        await self.send(await self._answer(head, receive, respond), head, send)

    async def send(self, answer: Answer, head: Head, send: Send) -> None:
        """Send a response, or a 503 if the memory for responses is exhausted."""
        with self.response_memory.share() as share:
            try:
                share.grow(len(answer.body))
            except Busy as error:
                answer = problem_of(error, head)
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_SECONDS):
                    await answer.send(head.scope, send)

    async def _answer(self, head: Head, receive: Receive, respond: Respond) -> Answer:
        public = not head.scope["path"].startswith("/internal/")
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if public else MAX_MESSAGE_BYTES
        try:
            async with self._bodies.read(head, limit, receive) as body:
                return await self._response(head, body, respond)
        except APIException as error:
            # The rest of the body must not be parsed as the next request.
            return problem_of(error, head, Connection="close")
        except Exception as error:
            log.exception("%s %s", head.method, head.scope["path"])
            return problem_of(error, head)

    async def _response(self, head: Head, body: bytes, respond: Respond) -> Answer:
        try:
            return await respond(body)
        except APIException as error:  # the body has been read: the connection can be kept
            return problem_of(error, head)


class Front:
    """The application: answers `/health/live` on the event loop, and calls Django in threads."""

    def __init__(self, threads: Threads, bodies: Bodies | None = None) -> None:
        self._threads, self.exchanges = threads, Exchanges(bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._exchange(Head(scope), receive, send)

    async def _exchange(self, head: Head, receive: Receive, send: Send) -> None:
        if head.scope["path"] == "/health/live":
            alive = json_answer(200, {"status": "ok"}, head)
            await self.exchanges.send(alive, head, send)
            return

        async def respond(body: bytes) -> Answer:
            return await self._threads.run(head.environ(), body)

        await self.exchanges.run(head, receive, send, respond)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        beating = asyncio.create_task(_beat())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        beating.cancel()
        await send({"type": "lifespan.shutdown.complete"})
