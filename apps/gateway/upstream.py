"""HTTP to a context that runs elsewhere, on the event loop: a slow one costs no thread.

What it may take of this process is bounded: so many requests at once, so many that wait, and none
while it does not answer at all (a circuit breaker). Others never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any

import aiohttp
from django.conf import settings
from rest_framework.exceptions import APIException
from yarl import URL

from severable.api import RETRY_AFTER
from severable.rpc import FROZEN_SECONDS, Address, Addresses, Circuit
from severable.topology import Policy

log = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0
KEPT_SECONDS = 5.0  # an idle connection: less than the upstream keeps it
WAITING = 64  # requests that may wait for one of those under way to end …
WAIT_SECONDS = 1.0  # … and for how long
MORE_SECONDS = 7.0  # than a call may take: placing an order waits for several, 10 s in all
LONGEST_ANSWER = 16 * 1024 * 1024
LONGEST_LINE = 65_536
UNSET = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # or aiohttp sets its own
NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Unavailable(APIException):
    """The upstream does not answer, or has enough to do."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "Try again in a moment."
    wait = RETRY_AFTER


class NoAnswer(Unavailable):
    """Nothing came back, or not all."""


class TooSlow(NoAnswer):
    """There was no answer in time."""

    status_code = HTTPStatus.GATEWAY_TIMEOUT
    default_code = "timeout"
    default_detail = "There was no answer in time. What was asked may have been done."


class BadAnswer(Unavailable):
    """An answer that cannot be passed on."""

    status_code = HTTPStatus.BAD_GATEWAY
    default_code = "bad_gateway"
    default_detail = "The answer cannot be passed on."


class Upstream:
    """The web processes of a context at their addresses (host:port each).

    It chooses an address, and what it sends again, as `severable.rpc.client.balance.Peer` does.
    """

    def __init__(self, addresses: tuple[str, ...], policy: Policy, name: str = "") -> None:
        """`name`: the deployment that the certificate must name; without, there is no TLS."""
        self.addresses = Addresses(addresses)
        self._name, self._tls = name, settings.TLS.context() if name and settings.TLS else None
        self._circuit = Circuit(policy.breaker_failures, policy.breaker_seconds)
        self._slots = asyncio.Semaphore(policy.concurrency)
        self._waiting, self._retries = 0, policy.retries > 0
        self._kept: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, target: str, *, repeatable: bool, **options: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """The head of the answer, and its body. Raises Unavailable."""
        epoch = self._circuit.enter()
        if epoch is None:
            raise Unavailable
        try:
            async with self._slot():
                answer = await self._tried(method, target, repeatable, options)
        except NoAnswer:
            self._circuit.leave(epoch, failed=True)
            raise
        except BaseException:
            self._circuit.give_up(epoch)
            raise
        self._circuit.leave(epoch, failed=False)
        return answer

    async def close(self) -> None:
        """Release all connections."""
        if self._kept:
            await self._kept.close()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING:
            raise Unavailable
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise Unavailable from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def _tried(
        self, method: str, target: str, repeatable: bool, options: dict[str, Any]
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        ends = monotonic() + settings.TOPOLOGY.timeout + MORE_SECONDS
        untried = list(self.addresses.all)
        while True:
            with self.addresses.taken(untried) as address:
                try:
                    return await self._asked(address, method, target, ends, options)
                except NOTHING_SENT as error:
                    self._failed(address, error)
                    untried.remove(address)
                    again = bool(untried)
                except TimeoutError as error:
                    self._failed(address, error)
                    address.eject(FROZEN_SECONDS)
                    raise TooSlow from None
                except aiohttp.ClientError as error:
                    self._failed(address, error)
                    broken = isinstance(error, aiohttp.ClientPayloadError)
                    again = self._retries and repeatable and not broken
                    untried.remove(address)
                    repeatable, untried = False, untried or [address]
            if not again or monotonic() > ends:
                raise NoAnswer

    def _failed(self, address: Address, error: Exception) -> None:
        log.warning("%s did not answer: %s: %s", address.where, type(error).__name__, error)
        address.eject()

    async def _asked(
        self, address: Address, method: str, target: str, ends: float, options: dict[str, Any]
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        left = max(ends - monotonic(), 0.001)
        async with self._session().request(
            method,
            URL(f"{'https' if self._tls else 'http'}://{address.where}{target}", encoded=True),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=left, sock_connect=CONNECT_SECONDS),
            server_hostname=self._name if self._tls else None,
            **options,
        ) as answer:
            if answer.headers.get("Connection", "").lower() == "close":
                address.eject()
            return answer, await _read(answer)

    def _session(self) -> aiohttp.ClientSession:
        if self._kept is None:
            self._kept = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=KEPT_SECONDS, ssl=self._tls or True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=UNSET,
                auto_decompress=False,
                max_line_size=LONGEST_LINE,
                max_field_size=LONGEST_LINE,
            )
            # It would send PUT and DELETE again by itself; what may come twice is said by `ask`.
            self._kept._retry_connection = False  # as aiohttp's own test client
        return self._kept


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    if not 200 <= answer.status <= 599:
        raise BadAnswer
    bodiless = answer.method == "HEAD" or answer.status in (204, 304)
    lengths = answer.headers.getall("Content-Length", [])
    chunked = "Transfer-Encoding" in answer.headers
    if len(lengths) > 1 or not (bodiless or lengths or chunked):
        raise aiohttp.ClientPayloadError("nothing says where the answer ends")
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > LONGEST_ANSWER:
            raise BadAnswer
    return bytes(body)
