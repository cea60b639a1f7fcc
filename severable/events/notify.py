"""A hint that there are events: it saves the relay up to one poll, and may get lost.

PostgreSQL's NOTIFY, after the commit and not within it: a transaction that notifies takes a lock
that all such transactions of the server share, and keeps it while its commit is written.
"""

from __future__ import annotations

import threading
from typing import Any

import psycopg
from django.db import connection, transaction

CHANNEL = "shop_events"


def on_commit() -> None:
    """Wake the relay once the surrounding transaction has committed."""
    if connection.vendor == "postgresql" and not _will_notify():
        transaction.on_commit(_notify, robust=True)


def _will_notify() -> bool:
    """Return whether it is planned already, and no savepoint undoes that but one that undoes
    us, too."""
    ours = set(connection.savepoint_ids)
    planned: Any = connection.run_on_commit
    return any(hook is _notify and savepoints <= ours for savepoints, hook, _ in planned)


def _notify() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}")


class Listener:
    """Waits until somebody has committed events, or until it is time to look all the same."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds at the most."""
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
        """Let go of the database."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _listening(self) -> psycopg.Connection[Any]:
        # One of its own: pooled ones are given back between steps, and would go on listening.
        listening = psycopg.connect(**connection.get_connection_params(), autocommit=True)
        listening.execute(f"LISTEN {CHANNEL}")
        return listening
