"""Checks of `manage.py prepare`.

It refuses an empty database if another one of the server has data, and a database with the tables
of another version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from severable.config.database import given, name_of

CONTEXTS_OF = "SELECT DISTINCT app FROM django_migrations"


def data_elsewhere() -> dict[str, str]:
    """Return contexts of this deployment that are not in its database yet but in that of another
    placement: the database's name by the context's."""
    mine = str(connection.settings_dict["NAME"])
    with_tables = {model._meta.app_label for model in apps.get_models()}
    missing = with_tables & set(settings.DEPLOYMENT.contexts) - _contexts_in(mine)
    found: dict[str, str] = {}
    for name in sorted(_names() - {mine}) if missing else ():
        found |= dict.fromkeys(missing & _contexts_in(name), name)
    return found


def _names() -> set[str]:
    """Return the names of the databases of all deployments of all placements."""
    name = str(given()["NAME"])
    return {
        name_of(name, deployment)
        for deployments in settings.TOPOLOGY.placements.values()
        for deployment in deployments.values()
    }


def _contexts_in(name: str) -> set[str]:
    """Return the apps whose tables a database has; none if it does not exist."""
    if connection.vendor == "sqlite":
        try:
            with closing(
                sqlite3.connect(f"{Path(name).absolute().as_uri()}?mode=ro", uri=True)
            ) as db:
                return {app for (app,) in db.execute(CONTEXTS_OF)}
        except sqlite3.Error:
            return set()
    try:
        with psycopg.connect(**connection.get_connection_params() | {"dbname": name}) as server:
            return {app for (app,) in server.execute(CONTEXTS_OF).fetchall()}
    except psycopg.Error:
        return set()


def misfits() -> Iterator[str]:
    """Yield the differences between the database's tables and this version's models."""
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            if not model._meta.managed or model._meta.proxy:
                continue
            if model._meta.db_table not in there:
                yield f"table {model._meta.db_table} is missing"
                continue
            yield from _misfits_of(model, cursor)


def _misfits_of(model: Any, cursor: Any) -> Iterator[str]:
    table = model._meta.db_table
    found = {c.name: c for c in connection.introspection.get_table_description(cursor, table)}
    wanted = {field.column for field in model._meta.local_concrete_fields}
    for name in sorted(wanted - found.keys()):
        yield f"{table} has no column {name}"
    for name in sorted(found.keys() - wanted):
        # Another version's column may stay, if rows can be written without it.
        if not found[name].null_ok and found[name].default is None:
            yield f"{table} wants a column {name}"


def unknown_migrations() -> list[str]:
    """Return the migrations that were applied and that this version does not have."""
    loader = MigrationLoader(connection)
    replaced = {key for migration in loader.disk_migrations.values() for key in migration.replaces}
    known = loader.disk_migrations.keys() | replaced
    unknown = set(loader.applied_migrations) - known
    return sorted(f"{app}.{name}" for app, name in unknown if app in loader.migrated_apps)
