"""Retention: what is old and settled leaves the database, events into a file.

Who starts to listen later starts with the oldest event that is kept. The last event of each
stream always is, so that versions go on. Other deployments read at their own pace, and nobody here
knows how far they are: nothing younger than MINIMUM_AGE goes, which they must not fall behind.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from django.db.models import Exists, OuterRef

from severable.events import feed, handlers, replay
from severable.events.envelope import Json
from severable.events.models import Delivery, Event, EventQuerySet, RelayPosition
from severable.events.store import cloud_event

MINIMUM_AGE = timedelta(days=7)
BATCH = 500


class BadArchive(Exception):
    """The file is not one that can be added to."""


@dataclass(frozen=True)
class Progress:
    """So many rows have been removed, and all are seen that are older than `reached`."""

    removed: int
    reached: datetime


def remove_deliveries(before: datetime) -> Iterator[Progress]:
    """Remove deliveries that were settled before a time, batch by batch.

    Only where the reconciler has passed the event: it would deliver it anew.
    """
    removed, last, reached = 0, 0, feed.reached()
    while page := list(Delivery.objects.filter(pk__gt=last).order_by("pk")[:BATCH]):
        if page[0].received_at >= before:
            break
        old = [row.pk for row in page if _settled(row, before) and _at(row) <= reached[row.handler]]
        # Once more: it may have been made due again by now.
        done = Delivery.objects.filter(pk__in=old, state=Delivery.State.DONE)
        removed += done.delete()[0]
        last = page[-1].pk
        yield Progress(removed, page[-1].received_at)


def archive_events(before: datetime, file: Path) -> Iterator[Progress]:
    """Move events from before a time to the end of a file, batch by batch.

    Each batch is on the disk before it is removed. A run that was killed in between has left
    events both here and there: the next one writes them again, with the same id. What is not
    published, has not been read by all handlers of this deployment, or waits or is parked with
    one of them, stays. Raises BadArchive, BlockingIOError where another run has the file.
    """
    removed, last = 0, feed.START
    with _appending(file) as target:
        while page := list(Event.objects.after(*last)[:BATCH]):
            if page[0].recorded_at >= before:
                break
            old = list(_removable(page, before))
            if old:
                _write(target, (_line(event) for event in old))
                removed += Event.objects.filter(pk__in=[e.pk for e in old]).delete()[0]
            last = _position(page[-1])
            yield Progress(removed, page[-1].recorded_at)


def _removable(page: list[Event], before: datetime) -> Iterable[Event]:
    relays = RelayPosition.objects.values_list("transaction_id", "position")
    published = min(relays, default=feed.START)
    read = _read_by_all()
    passed = [
        event.pk
        for event in page
        if event.recorded_at < before
        and _position(event) <= min(published, read.get(event.type, published))
    ]
    later: EventQuerySet = Event.objects.filter(
        stream=OuterRef("stream"), version__gt=OuterRef("version")
    )
    unsettled = Delivery.objects.filter(event_id=OuterRef("id")).exclude(state=Delivery.State.DONE)
    found = Event.objects.filter(Exists(later), ~Exists(unsettled), pk__in=passed)
    return found.order_by("transaction_id", "position")


def _read_by_all() -> dict[str, feed.Position]:
    """Return how far all handlers of a type of event have read here, and all replays."""
    reached, found = feed.reached(), dict[str, feed.Position]()
    for handler in handlers.registered():
        positions = [reached[handler.name]]
        if replay.reader(handler) in reached:
            positions.append(reached[replay.reader(handler)])
        found[handler.type] = min([*positions, *filter(None, [found.get(handler.type)])])
    return found


def _settled(row: Delivery, before: datetime) -> bool:
    return row.state == Delivery.State.DONE and (row.done_at or row.received_at) < before


def _at(row: Delivery) -> feed.Position:
    position = row.event["position"]
    return int(position["transaction"]), int(position["id"])


def _line(event: Event) -> Json:
    return cloud_event(event) | {"position": f"{event.transaction_id}:{event.position}"}


def _position(event: Event) -> feed.Position:
    return event.transaction_id, event.position


@contextmanager
def _appending(file: Path) -> Iterator[BinaryIO]:
    """A file to which only this process appends, without what another one left half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as target:
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            target.truncate(_whole(target))
        except zlib.error as error:
            raise BadArchive(f"{file} is no archive, or is damaged: {error}") from None
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)  # else the file's name may be lost, and the file with it
        os.close(folder)
        yield target


def _whole(file: BinaryIO) -> int:
    """The size in bytes of all gzip members that a file has whole."""
    file.seek(0)
    whole, member = 0, zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    while rest := file.read(1 << 20):
        while rest:
            member.decompress(rest)
            if not member.eof:
                break
            rest = member.unused_data
            whole = file.tell() - len(rest)
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return whole


def _write(target: BinaryIO, events: Iterable[Json]) -> None:
    """Append events as one gzip member, and see it onto the disk."""
    lines = "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events)
    target.write(gzip.compress(lines.encode()))
    target.flush()
    os.fsync(target.fileno())
