"""Copies of an order in bulk, by SQL: all rows that it has caused, with ids of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

# Ids are UUIDs, with or without dashes, also inside texts and JSON.
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}(?![0-9a-f])")
STRIDE = 100  # between the numbers of a row's copies: more than an order has rows in a table
EACH_OF = 100  # one of so many copies belongs to the same customer
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
COLUMNS = """\
SELECT attname, format_type(atttypid, atttypmod), attidentity <> ''
FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"""
Server = Connection[Any]


@dataclass(frozen=True)
class Column:
    """A column: its name, its type, and whether the database numbers it."""

    name: str
    type: str
    numbered: bool


@dataclass(frozen=True)
class Table:
    """A table, and the rows of it that are copied: the texts of their columns."""

    name: str
    columns: list[Column]
    rows: list[tuple[str | None, ...]]


def rows_about(server: Server, ids: list[str]) -> list[Table]:
    """Return the rows of all tables in which one of these ids is."""
    tables = [_table(server, name, ids) for (name,) in server.execute(TABLES).fetchall()]
    return [table for table in tables if table.rows]


def copy(server: Server, tables: list[Table], first: int, last: int) -> None:
    """Insert the copies with these numbers, without checks of foreign keys, and analyze."""
    server.execute("SET session_replication_role = replica")
    for table in tables:
        bases = {c.name: _largest(server, table.name, c.name) for c in table.columns if c.numbered}
        for row in table.rows:
            server.execute(_insert(table, row, bases), {"first": first, "last": last})
        for column in table.columns:
            if column.numbered:
                _move_sequence(server, table.name, column.name)
    server.execute("RESET session_replication_role")
    server.execute("VACUUM ANALYZE")


def _table(server: Server, name: str, ids: list[str]) -> Table:
    columns = [Column(*row) for row in server.execute(COLUMNS, [name]).fetchall()]
    texts = [sql.SQL("{}::text").format(sql.Identifier(column.name)) for column in columns]
    query = sql.SQL("SELECT {} FROM {} t WHERE t::text ~ %s").format(
        sql.SQL(", ").join(texts), sql.Identifier(name)
    )
    return Table(name, columns, server.execute(query, ["|".join(ids)]).fetchall())


def _insert(table: Table, row: tuple[str | None, ...], bases: dict[str, int]) -> sql.Composed:
    given = [(c, text) for c, text in zip(table.columns, row, strict=True) if text is not None]
    return sql.SQL(
        "INSERT INTO {} ({}) SELECT {} FROM generate_series(%(first)s::bigint, %(last)s) n"
    ).format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column, _ in given),
        sql.SQL(", ").join(_value(column, text, bases) for column, text in given),
    )


def _value(column: Column, text: str, bases: dict[str, int]) -> sql.Composed:
    """Return the expression of a copy's value."""
    if column.numbered:
        start = bases[column.name] + int(text)
        return sql.SQL("{} + (n - %(first)s::bigint) * {}").format(start, STRIDE)
    if column.name == "user_id":
        other = sql.SQL("CASE n %% {} WHEN 0 THEN {} ELSE 1000 + n END")
        return other.format(EACH_OF, int(text))
    found: sql.Composable = sql.SQL("{}::text").format(text)
    for one in sorted({match.group() for match in ID.finditer(text)}):
        found = sql.SQL("replace({}, {}, {})").format(found, one, _id(one))
    return sql.SQL("({})::{}").format(found, sql.SQL(column.type))  # type: ignore[arg-type]


def _id(given: str) -> sql.Composed:
    """Return the expression of a copy's id: in the order of the numbers, as UUIDs of version 7."""
    parts = ["substr({t}, 1, 8)", "substr({t}, 9)", "'7' || substr({m}, 1, 3)"]
    parts += ["'8' || substr({m}, 4, 3)", "substr({m}, 7, 12)"]
    joined = f" || '{'-' if '-' in given else ''}' || ".join(parts)
    return sql.SQL(joined).format(  # type: ignore[arg-type]
        t=sql.SQL("lpad(to_hex(1700000000000 + n), 12, '0')"),
        m=sql.SQL("md5({} || n)").format(given),
    )


def _largest(server: Server, table: str, column: str) -> int:
    query = sql.SQL("SELECT max({}) FROM {}")
    row = server.execute(query.format(sql.Identifier(column), sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0


def _move_sequence(server: Server, table: str, column: str) -> None:
    query = sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}")
    server.execute(query.format(table, column, sql.Identifier(column), sql.Identifier(table)))
