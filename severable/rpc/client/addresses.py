"""The choice of one of a peer's addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import random
from time import monotonic

EJECTION_SECONDS = 1.0
FROZEN_SECONDS = 10.0


@dataclass(eq=False)
class Address:
    """One host:port of a peer."""

    where: str
    in_flight: int = 0
    ejected_until: float = 0.0

    def eject(self, seconds: float | None = None) -> None:
        """Prefer other addresses for so many seconds, EJECTION_SECONDS by default."""
        self.ejected_until = monotonic() + (EJECTION_SECONDS if seconds is None else seconds)


class Addresses:
    """The addresses of a peer.

    A request goes to the address with the fewest requests in flight, a random one of equals: the
    "least request" of Envoy, which compares two of many (M. Mitzenmacher, "The power of two choices
    in randomized load balancing", 2001), while this compares all of a few. An address whose
    connection fails, or that closes it with a response, is ejected for a second; one that did not
    respond in time, for ten.
    """

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.all = [Address(where) for where in addresses]
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, among: list[Address]) -> Iterator[Address]:
        """Yield one of these, and count one more request in flight at it until the block ends."""
        with self._lock:
            now = monotonic()
            address = min(among, key=lambda a: (a.ejected_until > now, a.in_flight, random()))  # noqa: S311
            address.in_flight += 1
        try:
            yield address
        finally:
            with self._lock:
                address.in_flight -= 1
