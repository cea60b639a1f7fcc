"""Retention: removes old deliveries that are done, and moves old events into a file.

The last event of each stream is never removed, so that versions continue. The positions of readers
in other deployments are not known here: events younger than MIN_AGE are kept for them.
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

MIN_AGE = timedelta(days=7)
BATCH = 500


class BadArchive(Exception):
    """The file is not an archive, or is damaged."""


@dataclass(frozen=True)
class Progress:
    """The number of rows removed so far, and the time of the last row examined."""

    removed: int
    time: datetime


def remove_deliveries(before: datetime) -> Iterator[Progress]:
    """Remove deliveries that were done before a time, in batches.

    Deliveries that the reconciler has not compared stay: it would create them again.
    """
    removed, last, positions = 0, 0, feed.positions()
    while page := list(Delivery.objects.filter(pk__gt=last).order_by("pk")[:BATCH]):
        if page[0].received_at >= before:
            break
        old = [
            row.pk
            for row in page
            if _done(row, before) and _event_position(row) <= positions[row.handler]
        ]
        # The state again: the row may have been made due since.
        done = Delivery.objects.filter(pk__in=old, state=Delivery.State.DONE)
        removed += done.delete()[0]
        last = page[-1].pk
        yield Progress(removed, page[-1].received_at)


def archive_events(before: datetime, file: Path) -> Iterator[Progress]:
    """Move events from before a time to the end of a file, in batches.

    Each batch is flushed to the disk before it is removed. If a run is killed in between, the next
    one writes the batch again, with the same ids. Events that are not published, not compared for
    all handlers of this deployment, or not done in one of them, stay. Raises BadArchive, and
    BlockingIOError if another run has the file.
    """
    removed, last = 0, feed.START
    with _appending(file) as target:
        while page := list(Event.objects.committed_after(*last)[:BATCH]):
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
    processed = [
        event.pk
        for event in page
        if event.recorded_at < before
        and _position(event) <= min(published, read.get(event.type, published))
    ]
    later: EventQuerySet = Event.objects.filter(
        stream=OuterRef("stream"), version__gt=OuterRef("version")
    )
    unsettled = Delivery.objects.filter(event_id=OuterRef("id")).exclude(state=Delivery.State.DONE)
    found = Event.objects.filter(Exists(later), ~Exists(unsettled), pk__in=processed)
    return found.order_by("transaction_id", "position")


def _read_by_all() -> dict[str, feed.Position]:
    """Return by event type the lowest position of its handlers here and of their replays."""
    stored, found = feed.positions(), dict[str, feed.Position]()
    for handler in handlers.registered():
        positions = [stored[handler.name]]
        if replay.reader(handler) in stored:
            positions.append(stored[replay.reader(handler)])
        found[handler.type] = min([*positions, *filter(None, [found.get(handler.type)])])
    return found


def _done(row: Delivery, before: datetime) -> bool:
    return row.state == Delivery.State.DONE and (row.done_at or row.received_at) < before


def _event_position(row: Delivery) -> feed.Position:
    position = row.event["position"]
    return int(position["transaction"]), int(position["id"])


def _line(event: Event) -> Json:
    return cloud_event(event) | {"position": f"{event.transaction_id}:{event.position}"}


def _position(event: Event) -> feed.Position:
    return event.transaction_id, event.position


@contextmanager
def _appending(file: Path) -> Iterator[BinaryIO]:
    """Open a file for appending by this process only, truncated to its complete members."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as target:
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            target.truncate(_complete_size(target))
        except zlib.error as error:
            raise BadArchive(f"{file} is not an archive, or is damaged: {error}") from None
        folder = os.open(file.parent, os.O_RDONLY)
        os.fsync(folder)  # so that the new file's name is not lost
        os.close(folder)
        yield target


def _complete_size(file: BinaryIO) -> int:
    """Return the size in bytes of a file's complete gzip members."""
    file.seek(0)
    size, member = 0, zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    while rest := file.read(1 << 20):
        while rest:
            member.decompress(rest)
            if not member.eof:
                break
            rest = member.unused_data
            size = file.tell() - len(rest)
            member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return size


def _write(target: BinaryIO, events: Iterable[Json]) -> None:
    """Append events as one gzip member, and flush it to the disk."""
    lines = "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events)
    target.write(gzip.compress(lines.encode()))
    target.flush()
    os.fsync(target.fileno())
