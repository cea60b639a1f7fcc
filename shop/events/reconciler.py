"""The reconciler: compares every feed with the deliveries, and makes up for what is missing.

It is what makes the broker a fast path only: with the broker wiped, every event still reaches
every handler.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from protos import events_pb2
from protos.events_pb2_grpc import EventFeedStub
from shop.events import delivery, handlers
from shop.events.envelope import source_of
from shop.events.models import Subscription
from shop.jobs.clock import every
from shop.rpc.stubs import stub

log = logging.getLogger(__name__)

# How long an event has to arrive through the broker before it counts as missing.
GRACE = timedelta(seconds=2)
BATCH = 500

Position = tuple[int, int]


@every(seconds=1)
def reconcile() -> None:
    """Compare the feed of each context that handlers here listen to with their deliveries."""
    by_source: dict[str, list[handlers.Handler]] = defaultdict(list)
    for handler in handlers.registered():
        by_source[source_of(handler.type)].append(handler)
    for source, listeners in by_source.items():
        while _compare(source, listeners) == BATCH:
            pass


def _compare(source: str, listeners: list[handlers.Handler]) -> int:
    subscriptions = {s.handler: s for s in Subscription.objects.all()}
    reached = {handler.name: _position(subscriptions.get(handler.name)) for handler in listeners}
    events = _read(source, listeners, after=min(reached.values()))
    for handler in listeners:
        new = [event for event in events if _at(event) > reached[handler.name]]
        mine = [event for event in new if event.type == handler.type]
        missing = delivery.expect(mine, handler) if mine else 0
        if missing:
            log.warning("%s had missed %d of %d events", handler.name, missing, len(mine))
        if new:
            transaction_id, position = _at(new[-1])
            Subscription.objects.update_or_create(
                handler=handler.name,
                defaults={"transaction_id": transaction_id, "position": position},
            )
    return len(events)


def _read(
    source: str, listeners: list[handlers.Handler], after: Position
) -> list[events_pb2.Event]:
    request = events_pb2.ReadRequest(
        source=source,
        types=sorted({handler.type for handler in listeners}),
        after=events_pb2.Position(transaction=after[0], id=after[1]),
        limit=BATCH,
    )
    events = stub(EventFeedStub, source).Read(request).events
    settled = datetime.now(UTC) - GRACE
    old = []
    for event in events:
        if event.time.ToDatetime(UTC) > settled:
            break
        old.append(event)
    return old


def _position(subscription: Subscription | None) -> Position:
    return (subscription.transaction_id, subscription.position) if subscription else (0, 0)


def _at(event: events_pb2.Event) -> Position:
    return event.position.transaction, event.position.id
