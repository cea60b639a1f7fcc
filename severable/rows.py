"""Rows in few statements: an INSERT that reports a conflict, and related rows set in memory."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.db.models import Model
from django.db.models.constants import OnConflict
from django.db.models.sql import InsertQuery

__all__ = ["insert_new", "set_related"]


def insert_new(row: Model) -> bool:
    """Insert a row unless a unique column has its value already, and return whether it was
    inserted.

    It is one statement, where `get_or_create` needs four for a new row, and it does not abort the
    transaction on a conflict. The primary key must be set. Waits for a concurrent transaction that
    inserts the same row. On SQLite, a value that a check constraint does not allow counts as a
    conflict too: validate first.
    """
    query = InsertQuery(type(row), on_conflict=OnConflict.IGNORE)
    query.insert_values(row._meta.local_concrete_fields, [row])
    [(sql, params)] = query.get_compiler(connection=connection).as_sql()
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        inserted: bool = cursor.rowcount == 1
    row._state.adding, row._state.db = not inserted, connection.alias
    return inserted


def set_related(row: Model, name: str, related: Sequence[Model]) -> None:
    """Set the rows that a reverse foreign key returns, as `prefetch_related` does, without a
    query."""
    vars(row).setdefault("_prefetched_objects_cache", {})[name] = related
