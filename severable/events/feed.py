"""A context's events read back, in commit order, wherever it runs."""

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

# A transaction and a position, of the source's database: they are compared as a pair.
Position = tuple[int, int]

START: Position = (0, 0)


class Page(NamedTuple):
    """Events, the position up to which that is all, and whether there may be more after that."""

    events: list[events_pb2.Event]
    reached: Position
    more: bool


def read(source: str, types: Iterable[str], after: Position, limit: int = 0) -> Page:
    """Return what a context has appended of these types after a position: a page of so many
    events at
    the most (0: as many as it gives at once). The feed ends a page by its bytes, too.

    Raises grpc.RpcError.
    """
    request = events_pb2.ReadRequest(
        source=source,
        types=sorted(types),
        after=events_pb2.Position(transaction=after[0], id=after[1]),
        limit=limit,
    )
    answer = stub(EventFeedStub, source).Read(request)
    events = list(answer.events)
    reached = (answer.reached.transaction, answer.reached.id)
    reached = max([after, reached, *(at(event) for event in events[-1:])])
    # A context that is deployed in an older version does not say whether there is more.
    return Page(events, reached, answer.more or 0 < limit <= len(events))


def end(source: str) -> Position | None:
    """Return how far a context's feed reaches now. None for a context that is deployed in a
    version that
    cannot tell.

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
    """The last event of these types in a stream before a version of it; None where there is none.

    Raises LookupError for a context that is deployed in a version that cannot tell, grpc.RpcError.
    """
    request = events_pb2.ReadRequest(
        source=source, types=sorted(types), subject=stream, before=version, limit=1
    )
    events = stub(EventFeedStub, source).Read(request).events
    if events and (events[0].subject != stream or events[0].sequence >= version):
        raise LookupError(f"the feed of {source} cannot tell what came before: it is too old")
    return events[0] if events else None


def by_source(handlers: Iterable[Handler]) -> dict[str, list[Handler]]:
    """The handlers of each context's events, each once."""
    found: dict[str, dict[str, Handler]] = defaultdict(dict)
    for handler in handlers:
        found[source_of(handler.type)][handler.name] = handler
    return {source: list(each.values()) for source, each in found.items()}


def reached() -> dict[str, Position]:
    """Return how far each handler's feed has been compared with its deliveries."""
    found: dict[str, Position] = defaultdict(lambda: START)
    for subscription in Subscription.objects.all():
        found[subscription.handler] = (subscription.transaction_id, subscription.position)
    return found


def start(readers: Iterable[str], position: Position) -> None:
    """Note where readers start that have not read anything yet."""
    Subscription.objects.bulk_create(
        [Subscription(handler=reader, **_columns(position)) for reader in readers],
        ignore_conflicts=True,
    )


def remember(reader: str, position: Position) -> None:
    """Note how far a reader has come, whether or not it has started."""
    Subscription.objects.update_or_create(handler=reader, defaults=_columns(position))


def advance(positions: Mapping[str, Position]) -> None:
    """Note how far readers have come: one statement for those that have come equally far."""
    for position in set(positions.values()):
        readers = [reader for reader, its in positions.items() if its == position]
        Subscription.objects.filter(handler__in=readers).update(
            **_columns(position), updated_at=timezone.now()
        )


def _columns(position: Position) -> dict[str, int]:
    return {"transaction_id": position[0], "position": position[1]}


def missed(reader: str, events: int) -> None:
    """Count events that a reader had to find in the feed, for they had not come otherwise."""
    Subscription.objects.filter(handler=reader).update(missed=F("missed") + events)


def at(event: events_pb2.Event) -> Position:
    """Return the position of an event in its feed."""
    return event.position.transaction, event.position.id


def time(event: events_pb2.Event) -> datetime:
    """When it was recorded."""
    return event.time.ToDatetime(UTC)
