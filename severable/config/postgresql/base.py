"""The backend's DatabaseWrapper, which Django finds by this module's name."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, except for how a pooled connection is checked before it is used.

    Django lets the pool send an empty query, one round trip for each request and each task.
    """

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias == NO_DB_ALIAS or not options:
            return None
        pools: dict[str, ConnectionPool[Any]] = self._connection_pools  # type: ignore[attr-defined]
        if self.alias not in pools:
            made = ConnectionPool(
                kwargs=self.get_connection_params() | {"autocommit": True},
                open=False,
                configure=self._configure_connection,  # type: ignore[attr-defined]
                check=check,
                **options,
            )
            pools.setdefault(self.alias, made)  # another thread may have been faster
        return pools[self.alias]


def check(connection: psycopg.Connection[Any]) -> None:
    """Raise psycopg.OperationalError if the server has closed an idle connection.

    A server that ends, or ends a session, closes its socket, which is readable then. It is also
    readable if a notice has arrived: only then the server is asked.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
