"""Read a context's events in commit order, locally or remotely, and store readers' positions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from django.db.models import F
from django.utils import timezone

from severable.events.envelope import source_of
from severable.events.handlers import Handler
from severable.events.models import Subscription
from severable.protos import events_pb2
from severable.protos.events_pb2_grpc import EventFeedStub
from severable.rpc.client.stubs import stub

# (transaction, position) in the source's database, compared as a pair.
Position = tuple[int, int]

START: Position = (0, 0)


class Page(NamedTuple):
    """Events, the position up to which they are complete, and whether there may be more."""

    events: list[events_pb2.Event]
    end: Position
    more: bool


def read(source: str, types: Iterable[str], after: Position, limit: int = 0) -> Page:
    """Return a page of a context's events of these types after a position.

    `limit` is the maximum number of events (0: the feed's own maximum). The feed also limits a
    page by its bytes. Raises grpc.RpcError.
    """
    request = events_pb2.ReadRequest(
        source=source,
        types=sorted(types),
        after=events_pb2.Position(transaction=after[0], id=after[1]),
        limit=limit,
    )
    answer = stub(EventFeedStub, source).Read(request)
    events = list(answer.events)
    end = (answer.reached.transaction, answer.reached.id)
    end = max([after, end, *(position_of(event) for event in events[-1:])])
    # Older versions of a feed do not set `more`.
    return Page(events, end, answer.more or 0 < limit <= len(events))


def end_of(source: str) -> Position | None:
    """Return the current end of a context's feed, or None if its version is too old to tell.

    Raises grpc.RpcError.
    """
    answer = stub(EventFeedStub, source).Read(
        events_pb2.ReadRequest(source=source, end=True, limit=1)
    )
    if answer.events:
        return None
    return answer.reached.transaction, answer.reached.id


def last_before(
    source: str, types: Iterable[str], stream: str, version: int
) -> events_pb2.Event | None:
    """Return the last event of these types in a stream before a version, or None.

    Raises LookupError if the feed's version is too old to tell, grpc.RpcError.
    """
    request = events_pb2.ReadRequest(
        source=source, types=sorted(types), subject=stream, before=version, limit=1
    )
    events = stub(EventFeedStub, source).Read(request).events
    if events and (events[0].subject != stream or events[0].sequence >= version):
        raise LookupError(f"the feed of {source} cannot tell what came before: it is too old")
    return events[0] if events else None


def by_source(handlers: Iterable[Handler]) -> dict[str, list[Handler]]:
    """Return the handlers by the source of their events; one of several types only once."""
    found: dict[str, dict[str, Handler]] = defaultdict(dict)
    for handler in handlers:
        found[source_of(handler.type)][handler.name] = handler
    return {source: list(each.values()) for source, each in found.items()}


def positions() -> dict[str, Position]:
    """Return all readers' positions by name; START for one that has none."""
    found: dict[str, Position] = defaultdict(lambda: START)
    for subscription in Subscription.objects.all():
        found[subscription.handler] = (subscription.transaction_id, subscription.position)
    return found


def start(readers: Iterable[str], position: Position) -> None:
    """Store a start position for those readers that have no position."""
    Subscription.objects.bulk_create(
        [Subscription(handler=reader, **_columns(position)) for reader in readers],
        ignore_conflicts=True,
    )


def set_position(reader: str, position: Position) -> None:
    """Store a reader's position; create its row if there is none."""
    Subscription.objects.update_or_create(handler=reader, defaults=_columns(position))


def advance(positions: Mapping[str, Position]) -> None:
    """Store readers' new positions, with one statement for each position."""
    for position in set(positions.values()):
        readers = [reader for reader, its in positions.items() if its == position]
        Subscription.objects.filter(handler__in=readers).update(
            **_columns(position), updated_at=timezone.now()
        )


def _columns(position: Position) -> dict[str, int]:
    return {"transaction_id": position[0], "position": position[1]}


def count_lost(reader: str, events: int) -> None:
    """Add to the number of a reader's events that the broker has lost."""
    Subscription.objects.filter(handler=reader).update(missed=F("missed") + events)


def position_of(event: events_pb2.Event) -> Position:
    """Return the position of an event in its feed."""
    return event.position.transaction, event.position.id


def time_of(event: events_pb2.Event) -> datetime:
    """Return the time at which an event was appended."""
    return event.time.ToDatetime(UTC)
