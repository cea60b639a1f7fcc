"""HTTP to a peer that has one or several addresses: whom to ask, and whom to ask instead.

gRPC brings the like of it (`shop.rpc.stubs.grpc_channel`); HTTP/1.1 does not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import random
from time import monotonic
from typing import Any

from django.conf import settings
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout, connection_from_url
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError

from shop.topology import Deployment

CONNECT_SECONDS = 1.0
ASIDE_SECONDS = 1.0


def certified(peer: Deployment) -> str:
    """What the certificate of a deployment's HTTP must name: "" where it speaks plain text."""
    return peer.name if settings.TLS and peer.inside else ""


@dataclass(eq=False)
class Address:
    """One host:port of a peer."""

    pool: HTTPConnectionPool
    under_way: int = 0
    aside_until: float = 0.0


class Peer:
    """Whoever answers at any of some addresses (host:port each).

    A request goes to the address with the fewest requests under way, and chance breaks ties: the
    "least request" of Envoy, which looks at two of many (M. Mitzenmacher, "The power of two choices
    in randomized load balancing", 2001), where we look at all of a few. An address whose connection
    fails, or that closes it with an answer, is put aside for a second: others are asked first.

    Where no connection can be made nothing was sent, and the request goes to the next address, to
    each once. Where a connection breaks before there is the head of an answer, as kept ones do when
    a server ends, only what may come twice is sent again, and once (RFC 9110 9.2.2). But an answer
    is an answer: a 503 is not tried elsewhere, or load would multiply where there is too much of
    it already.
    """

    def __init__(self, addresses: tuple[str, ...], connections: int, name: str = "") -> None:
        """`connections`: to one address, at most; more requests wait for one to be free.
        `name`: the deployment that the certificate must name; without, there is no TLS."""
        scheme, options = "http", {}
        if name and settings.TLS:
            names = {"server_hostname": name, "assert_hostname": name}
            scheme, options = "https", {"ssl_context": settings.TLS.context(), **names}
        self._addresses = [
            Address(
                connection_from_url(
                    f"{scheme}://{address}", maxsize=connections, block=True, **options
                )
            )
            for address in addresses
        ]
        self._lock = threading.Lock()

    @contextmanager
    def ask(
        self,
        method: str,
        target: str,
        *,
        repeatable: bool,
        timeout: float | None,
        **options: Any,
    ) -> Iterator[BaseHTTPResponse]:
        """The answer to a request, which counts as under way until the block ends.

        `timeout`: seconds for all of it, whoever is asked. `options` are those of urllib3's
        `urlopen`. Raises urllib3's errors.
        """
        ends = None if timeout is None else monotonic() + timeout
        untried, left = list(self._addresses), timeout
        while True:
            with self._taken(untried) as address:
                try:
                    answer = address.pool.urlopen(
                        method,
                        target,
                        timeout=Timeout(connect=CONNECT_SECONDS, total=left),
                        retries=False,
                        redirect=False,
                        **options,
                    )
                except (NewConnectionError, ConnectTimeoutError, ProtocolError) as error:
                    address.aside_until = monotonic() + ASIDE_SECONDS
                    left = None if ends is None else ends - monotonic()
                    if left is not None and left <= 0:
                        raise
                    untried.remove(address)
                    if isinstance(error, ProtocolError):
                        if not repeatable:
                            raise
                        repeatable, untried = False, untried or [address]
                    elif not untried:
                        raise
                else:
                    if answer.headers.get("Connection", "").lower() == "close":
                        address.aside_until = monotonic() + ASIDE_SECONDS
                    yield answer
                    return

    def close(self) -> None:
        """Let go of all connections."""
        for address in self._addresses:
            address.pool.close()

    @contextmanager
    def _taken(self, among: list[Address]) -> Iterator[Address]:
        with self._lock:
            now = monotonic()
            address = min(among, key=lambda a: (a.aside_until > now, a.under_way, random()))  # noqa: S311
            address.under_way += 1
        try:
            yield address
        finally:
            with self._lock:
                address.under_way -= 1
