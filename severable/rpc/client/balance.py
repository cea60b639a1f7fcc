"""HTTP to a peer that has one or several addresses: whom to ask, and whom to ask instead.

gRPC brings the like of it (`severable.rpc.client.stubs.grpc_channel`); HTTP/1.1 does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from django.conf import settings
from urllib3 import BaseHTTPResponse, Timeout, connection_from_url
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError

from severable.rpc.client.addresses import Addresses
from severable.topology import Deployment

CONNECT_SECONDS = 1.0


def tls_server_name(peer: Deployment) -> str:
    """What the certificate of a deployment's HTTP must name: "" where it speaks plain text."""
    return peer.name if settings.TLS and peer.inside else ""


class Peer:
    """Whoever answers at any of some addresses (host:port each).

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
        self._addresses = Addresses(addresses)
        self._pools = {
            where: connection_from_url(
                f"{scheme}://{where}", maxsize=connections, block=True, **options
            )
            for where in addresses
        }

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
        untried, left = list(self._addresses.all), timeout
        while True:
            with self._addresses.taken(untried) as address:
                try:
                    answer = self._pools[address.where].urlopen(
                        method,
                        target,
                        timeout=Timeout(connect=CONNECT_SECONDS, total=left),
                        retries=False,
                        redirect=False,
                        **options,
                    )
                except (NewConnectionError, ConnectTimeoutError, ProtocolError) as error:
                    address.eject()
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
                        address.eject()
                    yield answer
                    return

    def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            pool.close()
