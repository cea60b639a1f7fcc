"""Which of a peer's addresses is asked."""

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
        """For a while, a second unless said otherwise, others are asked first."""
        self.ejected_until = monotonic() + (EJECTION_SECONDS if seconds is None else seconds)


class Addresses:
    """The addresses of a peer.

    A request goes to the address with the fewest requests under way, and chance breaks ties: the
    "least request" of Envoy, which looks at two of many (M. Mitzenmacher, "The power of two choices
    in randomized load balancing", 2001), where we look at all of a few. An address whose connection
    fails, or that closes it with an answer, is put aside for a second; one that did not answer in
    time, for ten.
    """

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.all = [Address(where) for where in addresses]
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, among: list[Address]) -> Iterator[Address]:
        """One of these, with one more request under way until the block ends."""
        with self._lock:
            now = monotonic()
            address = min(among, key=lambda a: (a.ejected_until > now, a.in_flight, random()))  # noqa: S311
            address.in_flight += 1
        try:
            yield address
        finally:
            with self._lock:
                address.in_flight -= 1
