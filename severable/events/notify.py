"""A notification that there are new events. It saves the relay up to one poll, and may get lost.

It is PostgreSQL's NOTIFY, sent after the commit: a transaction that notifies holds a lock, shared
by all such transactions of the server, while its commit is written.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from time import sleep
from typing import Any

import psycopg
from django.db import connection, transaction

CHANNEL = "shop_events"
LISTEN_SECONDS, POLL_SECONDS = 0.5, 0.02


def notify_on_commit() -> None:
    """Notify the relay once the surrounding transaction has committed."""
    if connection.vendor == "postgresql" and not _will_notify():
        transaction.on_commit(_notify, robust=True)


def _will_notify() -> bool:
    """Return whether a notification is already registered that no rollback to a savepoint removes
    unless it also rolls back the caller."""
    ours = set(connection.savepoint_ids)
    planned: Any = connection.run_on_commit
    return any(hook is _notify and savepoints <= ours for savepoints, hook, _ in planned)


def _notify() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


class Listener:
    """Wakes the loops of this process when another connection has committed.

    SQLite sends no notifications: there, its counter of commits is polled. Either may miss one, so
    the loops must poll, too.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._woken: list[threading.Event] = []

    def waiter(self) -> Callable[[float], bool]:
        """Return a function that waits for a commit, at most some seconds, and returns whether
        there was one since the last call."""
        woken = threading.Event()
        self._woken.append(woken)

        def wait(seconds: float) -> bool:
            committed = woken.wait(seconds)
            woken.clear()
            return committed

        return wait

    def run(self) -> None:
        """Wake the loops at each commit, until stopped."""
        listen = _notifications if connection.vendor == "postgresql" else _changes
        while not self._stop.is_set():
            try:
                for committed in listen():
                    if committed or self._stop.is_set():
                        self._wake()
                    if self._stop.is_set():
                        return
            except (psycopg.Error, sqlite3.Error):
                self._stop.wait(1)

    def _wake(self) -> None:
        for woken in self._woken:
            woken.set()


def _notifications() -> Iterator[bool]:
    """Yield whether there was a notification, at least every LISTEN_SECONDS."""
    # A separate connection: a pooled one would keep listening after its return to the pool.
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        yield True  # there may have been one before
        while True:
            yield any(listening.notifies(timeout=LISTEN_SECONDS, stop_after=1))


def _changes() -> Iterator[bool]:
    """Yield whether another connection has written, every POLL_SECONDS."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as reading:
        version = None
        while True:
            before, (version,) = version, reading.execute("PRAGMA data_version").fetchone()
            yield version != before
            sleep(POLL_SECONDS)
