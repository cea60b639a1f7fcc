"""Requests to a context that runs in another deployment, on the event loop.

The resources that a context can take from this process are limited: the requests in flight, those
that wait, and none while it does not respond at all (a circuit breaker). So a slow context delays
no requests to others.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import monotonic

from django.conf import settings
from rest_framework.exceptions import APIException

from apps.gateway.connections import Connections, NotConnected, Outgoing
from apps.gateway.response import Broken, Incomplete, NotForwardable, Response
from severable.api import RETRY_AFTER
from severable.rpc import FROZEN_SECONDS, Address, Addresses, Circuit
from severable.topology import Policy

log = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0
WAITING = 64  # requests that may wait for one of those in flight to end …
WAIT_SECONDS = 1.0  # … and for how long
MORE_SECONDS = 7.0  # than a call may take: placing an order makes several calls, 10 s in total
LONGEST_ANSWER = 16 * 1024 * 1024


class Unavailable(APIException):
    """The upstream is down or overloaded."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "unavailable"
    default_detail = "Try again in a moment."
    wait = RETRY_AFTER


class NoAnswer(Unavailable):
    """There was no response, or only a part of one."""


class TooSlow(NoAnswer):
    """There was no response in time."""

    status_code = HTTPStatus.GATEWAY_TIMEOUT
    default_code = "timeout"
    default_detail = "There was no answer in time. What was asked may have been done."


class BadAnswer(Unavailable):
    """There was a response that cannot be forwarded."""

    status_code = HTTPStatus.BAD_GATEWAY
    default_code = "bad_gateway"
    default_detail = "The response cannot be forwarded."


class Upstream:
    """The web processes of a context at their addresses (host:port each).

    It chooses the address of a request, and what is sent again, as
    `severable.rpc.client.balance.Peer` does.
    """

    def __init__(self, addresses: tuple[str, ...], policy: Policy, name: str = "") -> None:
        """`name` is the deployment that the certificate must name; without it there is no TLS."""
        self.addresses = Addresses(addresses)
        tls = settings.TLS.context() if name and settings.TLS else None
        self._connections = {where: Connections(where, tls, name) for where in addresses}
        self._circuit = Circuit(policy.breaker_failures, policy.breaker_seconds)
        self._slots = asyncio.Semaphore(policy.concurrency)
        self._waiting, self._retries = 0, policy.retries > 0

    async def send(self, request: Outgoing, *, repeatable: bool) -> Response:
        """Return the response to a request. Raises Unavailable."""
        epoch = self._circuit.enter()
        if epoch is None:
            raise Unavailable
        try:
            await self._acquire_slot()
            try:
                response = await self._try(request, repeatable)
            finally:
                self._slots.release()
        except NoAnswer:
            self._circuit.leave(epoch, failed=True)
            raise
        except BaseException:
            self._circuit.give_up(epoch)
            raise
        self._circuit.leave(epoch, failed=False)
        return response

    def close(self) -> None:
        """Close all idle connections."""
        for connections in self._connections.values():
            connections.close()

    async def _acquire_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return
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

    async def _try(self, request: Outgoing, repeatable: bool) -> Response:
        ends = monotonic() + settings.TOPOLOGY.timeout + MORE_SECONDS
        untried = list(self.addresses.all)
        while True:
            with self.addresses.taken(untried) as address:
                try:
                    return await self._exchange(address, request, ends)
                except NotConnected as error:
                    self._eject(address, error)
                    untried.remove(address)
                    again = bool(untried)
                except TimeoutError as error:
                    self._eject(address, error)
                    address.eject(FROZEN_SECONDS)
                    raise TooSlow from None
                except Broken as error:
                    self._eject(address, error)
                    again = self._retries and repeatable and not isinstance(error, Incomplete)
                    untried.remove(address)
                    repeatable, untried = False, untried or [address]
            if not again or monotonic() > ends:
                raise NoAnswer

    async def _exchange(self, address: Address, request: Outgoing, ends: float) -> Response:
        left = max(ends - monotonic(), 0.001)
        connection = await self._connections[address.where].get(min(CONNECT_SECONDS, left))
        left = max(ends - monotonic(), 0.001)
        try:
            response = await connection.exchange(request, left, LONGEST_ANSWER)
        except NotForwardable as error:
            log.warning("%s: the response cannot be forwarded: %s", address.where, error)
            raise BadAnswer from None
        if response.closes:
            address.eject()
        return response

    def _eject(self, address: Address, error: Exception) -> None:
        log.warning("%s did not respond: %s: %s", address.where, type(error).__name__, error)
        address.eject()
