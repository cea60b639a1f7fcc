"""Transaction numbers: the commit order of events, independent of the database server.

PostgreSQL's transaction ids belong to one cluster: after a restore they may start anywhere. A
transaction's number is its id plus an offset. Each run of a server gets its own offset, so that its
numbers start at the current time in microseconds. No server runs a million transactions a second,
so numbers never overtake the time, and those of a later run, in any cluster, are above all that any
reader has seen. SQLite has one writer at a time: there the number is the time itself.
"""

from __future__ import annotations

import psycopg
from django.db import connection, transaction

OFFSETS = "severable_events_transactionoffset"
_EVENTS = "severable_events_event"
_NEVER = 2**63 - 1

# The run of a server and the id of the table, which a logical restore creates anew.
_RUN = f"concat_ws('/', extract(epoch FROM pg_postmaster_start_time()), '{OFFSETS}'::regclass::oid)"
_OF_THIS_RUN = f"FROM {OFFSETS} WHERE id = 1 AND server = {_RUN}"
_XMIN = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_XMAX = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_LAST = f"(SELECT COALESCE(MAX(transaction_id), 0) FROM {_EVENTS})"  # noqa: S608
_START = f"GREATEST((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, {_LAST} + 1)"
_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"

# The number of the current transaction, and its FROM clause: no row if there is no offset.
OWN = {
    "postgresql": ("value + pg_current_xact_id()::text::bigint", _OF_THIS_RUN),
    "sqlite": (f"MAX({_SQLITE_NOW}, {_LAST})", ""),
}
# All transactions below this number have ended. Without an offset, this run has appended nothing.
OLDEST_OPEN = {
    "postgresql": f"COALESCE((SELECT value + {_XMIN} {_OF_THIS_RUN}), {_NEVER})",
    "sqlite": str(_NEVER),
}
# No transaction that has ended has this number or a higher one.
_NEXT = {
    "postgresql": f"COALESCE((SELECT value + {_XMAX} {_OF_THIS_RUN}), {_START})",
    "sqlite": f"MAX({_SQLITE_NOW}, {_LAST}) + 1",
}
# Relative to the oldest open transaction, so that none that may still append gets a lower number.
_BEGIN = f"""
    INSERT INTO {OFFSETS} (id, server, value) VALUES (1, {_RUN}, {_START} - {_XMIN})
    ON CONFLICT (id) DO UPDATE SET server = excluded.server, value = excluded.value"""  # noqa: S608


def begin() -> None:
    """Create the offset of this run of the server, if it has none."""
    if connection.vendor != "postgresql":
        return
    # A separate connection: the caller's transaction may be long, and others wait for this row.
    with (
        connection.wrap_database_errors,
        psycopg.connect(**connection.get_connection_params(), autocommit=True) as own,
    ):
        own.execute(f"{_BEGIN} WHERE {OFFSETS}.server <> excluded.server")


def renumber() -> None:
    """Restart numbers at the current time, above those of all stored events."""
    if connection.vendor != "postgresql":
        return
    with transaction.atomic(), connection.cursor() as cursor:
        # Waits until no transaction with a lower number is open.
        cursor.execute(f"LOCK TABLE {_EVENTS} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(_BEGIN)


def upcoming() -> int:
    """Return the lowest number that no transaction can have had yet."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NEXT[connection.vendor]}")
        return int(cursor.fetchone()[0])
