"""What a shop's databases hold, however many they are, and whether work is still going on."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.conf import settings
from django.db import models

from severable.events import handlers
from severable.events.models import Delivery, Event
from severable.jobs.models import Job
from severable.saga.models import Saga
from tests.chaos.running import Shop
from tests.differential.client import HEX, HOST, SIGNED, TIME, UUID, Client

Rows = Counter[str]
NOT_COMPARED = {
    "password",  # salted
    "last_login",
    "token_id",
    "registration",
    "due_at",  # when a job is tried next, by the clock
    "attempts",
    "granted_attempts",
    "error",
    "position",
    "transaction_id",
}
EVENT = ("source", "stream", "version", "type", "data", "actor")


def settled(shop: Shop, placement: str) -> bool:
    """Whether every event has reached every handler, and no job waits."""
    events: set[tuple[str, str]] = set()
    delivered: set[tuple[str, str]] = set()
    for read in databases(shop, placement):
        events |= {(_plain(i), t) for i, t in read(Event, ("id", "type"))}
        done = read(Delivery, ("event_id", "handler", "state"))
        delivered |= {(_plain(i), handler) for i, handler, state in done if state != "waiting"}
        for model in apps.get_models():
            if issubclass(model, Job) and any(s == "waiting" for (s,) in read(model, ("state",))):
                return False
    return {
        (event, handler.name)
        for event, type in events
        for handler in handlers.registered(type=type)
        if not handler.name.startswith("cache.")
    } <= delivered


def of(shop: Shop, placement: str, client: Client) -> dict[str, Rows]:
    """All rows of all contexts, their events, deliveries and sagas, by table: each row as text,
    without what differs from one run to the next."""
    found: dict[str, Rows] = {}
    contexts = settings.TOPOLOGY.contexts
    compared = [m for m in apps.get_models() if m._meta.app_label in contexts]
    for read in databases(shop, placement):
        for model in compared:
            _add(found, model, read(model, _columns(model)), client)
        _add(found, Event, read(Event, EVENT), client)
        ours = [r for r in read(Delivery, ("handler", "state")) if not r[0].startswith("cache.")]
        _add(found, Delivery, ours, client)
        _add(found, Saga, read(Saga, ("name", "key", "status", "state")), client)
    return found


def _columns(model: type[models.Model]) -> tuple[str, ...]:
    return tuple(
        field.column
        for field in model._meta.concrete_fields
        if field.column not in NOT_COMPARED
        and not (isinstance(field, models.AutoField | models.BigAutoField) and field.primary_key)
    )


def _add(found: dict[str, Rows], model: type[models.Model], rows: Any, client: Client) -> None:
    table = found.setdefault(model._meta.db_table, Counter())
    table.update(str([_shown(value, client) for value in row]) for row in rows)


def _shown(value: Any, client: Client) -> str:
    text = TIME.sub("a time", HOST.sub("shop", SIGNED.sub("token=…", str(value))))
    text = HEX.sub(lambda found: _dashed(found[0]), text)
    text = re.sub(r"\([0-9a-f]{8}\)", "(…)", text)
    return UUID.sub(lambda found: client.name(found[0]), text)


def _plain(identifier: Any) -> str:
    return str(identifier).replace("-", "")


def _dashed(hexadecimal: str) -> str:
    ends = (8, 12, 16, 20, 32)
    return "-".join(hexadecimal[a:b] for a, b in zip((0, *ends), ends, strict=False))


def databases(shop: Shop, placement: str) -> Iterator[Any]:
    """A function for each database, that reads columns of a model; no rows of a table that is not
    there."""
    for deployment in settings.TOPOLOGY.placements[placement].values():
        suffix = "" if placement == "one" else f"-{deployment.name}"
        with closing(_connection(shop, suffix)) as connection:
            yield partial(_read, connection, deployment.contexts)


def _read(
    connection: Any,
    contexts: tuple[str, ...],
    model: type[models.Model],
    columns: tuple[str, ...],
) -> list[Any]:
    if not _is_there(model, contexts):
        return []
    names = ", ".join(f'"{column}"' for column in columns)
    return list(connection.execute(f'SELECT {names} FROM "{model._meta.db_table}"').fetchall())


def _is_there(model: type[models.Model], contexts: tuple[str, ...]) -> bool:
    label = model._meta.app_label
    return label in contexts or label not in settings.TOPOLOGY.contexts


def _connection(shop: Shop, suffix: str) -> Any:
    if shop.database_url:
        return psycopg.connect(f"{shop.database_url}{suffix}", autocommit=True)
    file = Path(shop.folder) / f"db{suffix}.sqlite3"
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)
