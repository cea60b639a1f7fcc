"""Lets a test do the same thing many times at once, each time on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


def together(count: int, call: Callable[[int], T]) -> list[T]:
    """call(0), call(1) … in as many threads, begun at the same moment. Their results, in order."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait()
        try:
            return call(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))
