"""A notification that there are new events. It saves the relay up to one poll, and may get lost.

It is PostgreSQL's NOTIFY, sent after the commit: a transaction that notifies holds a lock, shared
by all such transactions of the server, while its commit is written.
"""

from __future__ import annotations

import threading
from typing import Any

import psycopg
from django.db import connection, transaction

CHANNEL = "shop_events"


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
    """Waits for a notification or a timeout."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> None:
        """Wait for a notification, at most this many seconds."""
        if connection.vendor != "postgresql":
            self._stop.wait(seconds)
            return
        try:
            if self._connection is None:
                self._connection = self._listening()
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                pass
        except psycopg.Error:
            self.close()
            self._stop.wait(seconds)

    def close(self) -> None:
        """Close the connection to the database."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _listening(self) -> psycopg.Connection[Any]:
        # A separate connection: a pooled one would keep listening after its return to the pool.
        listening = psycopg.connect(**connection.get_connection_params(), autocommit=True)
        listening.execute(f"LISTEN {CHANNEL}")
        return listening
