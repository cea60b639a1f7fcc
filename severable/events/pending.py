"""The delivery rows of events: find, create, claim."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from severable.events import feed, handlers
from severable.events.envelope import to_json
from severable.events.models import Delivery, prepared
from severable.protos.events_pb2 import Event

# An older event may have been delivered already, and its delivery removed.
MAX_TRANSIT = timedelta(hours=1)


def deliveries_of(events: list[Event], handler: handlers.Handler) -> QuerySet[Delivery]:
    """Return the deliveries of some events to a handler."""
    ids = [event.id for event in events]
    return Delivery.objects.filter(handler=handler.name, event_id__in=ids)


def without_delivery(events: list[Event], handler: handlers.Handler) -> list[Event]:
    """Return the events that have no delivery to a handler."""
    seen = set(deliveries_of(events, handler).values_list("event_id", flat=True))
    return [event for event in events if UUID(event.id) not in seen]


def create_missing(events: list[Event], handler: handlers.Handler) -> None:
    """Create a delivery that is due now for each event that has none to this handler."""
    deliveries = [_new(event, handler, due_at=Now()) for event in events]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)


def insert_done(events: list[Event], handler: handlers.Handler) -> set[str]:
    """Insert deliveries that are done by their first attempt, in the handler's transaction.

    Returns the ids of the events that had no attempt before. Another transaction that inserts one
    of them waits for the end of this one.
    """
    done = {"state": Delivery.State.DONE, "attempts": 1, "done_at": timezone.now()}
    rows = [_new(event, handler, **done) for event in events]
    values = [value for row in rows for value in prepared(row, _COLUMNS)]
    with connection.cursor() as cursor:
        cursor.execute(_insert_done(len(rows)), values)
        return {str(UUID(str(event_id))) for (event_id,) in cursor.fetchall()}


def claim_untried(events: list[Event], handler: handlers.Handler) -> Iterator[Delivery]:
    """Claim one after the other the deliveries without an attempt."""
    untried = deliveries_of(events, handler).filter(state=Delivery.State.WAITING, attempts=0)
    for pk in list(untried.order_by("pk").values_list("pk", flat=True)):
        claimed = Delivery.claim(pk)
        if claimed:
            yield claimed


def deliverable(events: list[Event], handler: handlers.Handler) -> list[Event]:
    """Return each event once, without those delivered so long ago that the delivery is removed."""
    late = timezone.now() - MAX_TRANSIT
    distinct = {event.id: event for event in events}.values()
    return [e for e in distinct if feed.time_of(e) > late or not was_removed(e, handler)]


def was_removed(event: Event, handler: handlers.Handler) -> bool:
    """Return whether an event was delivered and its delivery has been removed since."""
    if feed.position_of(event) > feed.positions()[handler.name]:
        return False
    return not Delivery.objects.filter(event_id=event.id, handler=handler.name).exists()


def _new(event: Event, handler: handlers.Handler, **state: object) -> Delivery:
    return Delivery(
        event_id=event.id,
        handler=handler.name,
        context=handler.context,
        type=event.type,
        stream=event.subject,
        version=event.sequence,
        event=to_json(event),
        **state,
    )


_COLUMNS = [field for field in Delivery._meta.concrete_fields if not field.primary_key]


@cache
def _insert_done(count: int) -> str:
    row = f"({', '.join(['%s'] * len(_COLUMNS))})"
    table = Delivery._meta.db_table
    return f"""
        INSERT INTO {table} ({", ".join(f.attname for f in _COLUMNS)})
        VALUES {", ".join([row] * count)}
        ON CONFLICT (event_id, handler) DO UPDATE SET
            state = excluded.state, attempts = excluded.attempts,
            due_at = excluded.due_at, done_at = excluded.done_at
        WHERE {table}.state = 'waiting' AND {table}.attempts = 0
        RETURNING event_id"""  # noqa: S608
