"""HTTP to a peer with one or several addresses: load balancing and failover.

gRPC has both built in (`severable.rpc.client.stubs.grpc_channel`); HTTP/1.1 does not.
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
    """Return the name that a deployment's HTTP certificate must have, or "" for plain text."""
    return peer.name if settings.TLS and peer.inside else ""


class Peer:
    """A server that is reached at several addresses (host:port each).

    If no connection can be made, nothing was sent, and the request goes to the next address, once
    to each. If a connection breaks before the head of a response, as kept-alive ones do when a
    server ends, only an idempotent request is sent again, and once (RFC 9110 9.2.2). A 503 is a
    response and is not retried at another address: that would multiply the load of an overload.
    """

    def __init__(self, addresses: tuple[str, ...], connections: int, name: str = "") -> None:
        """Open up to `connections` to each address; more requests wait for a free one.
        `name` is the deployment that the certificate must name; without it there is no TLS."""
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
    def request(
        self,
        method: str,
        target: str,
        *,
        repeatable: bool,
        timeout: float | None,
        **options: Any,
    ) -> Iterator[BaseHTTPResponse]:
        """Yield the response to a request, which counts as in flight until the block ends.

        `timeout` is in seconds, for all attempts together. `options` are those of urllib3's
        `urlopen`. Raises urllib3's errors.
        """
        ends = None if timeout is None else monotonic() + timeout
        untried, left = list(self._addresses.all), timeout
        while True:
            with self._addresses.taken(untried) as address:
                try:
                    response = self._pools[address.where].urlopen(
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
                    if response.headers.get("Connection", "").lower() == "close":
                        address.eject()
                    yield response
                    return

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()
