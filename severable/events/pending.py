"""Rows of deliveries: those that there are for some events, and those that are still missing."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from severable.events import feed, handlers
from severable.events.envelope import to_json
from severable.events.models import Delivery
from severable.protos import events_pb2


def of(events: list[events_pb2.Event], handler: handlers.Handler) -> QuerySet[Delivery]:
    """Return the deliveries of some events to a handler."""
    ids = [event.id for event in events]
    return Delivery.objects.filter(handler=handler.name, event_id__in=ids)


def without_delivery(
    events: list[events_pb2.Event], handler: handlers.Handler
) -> list[events_pb2.Event]:
    """Those of the events that this handler has not had, nor will have."""
    seen = set(of(events, handler).values_list("event_id", flat=True))
    return [event for event in events if UUID(event.id) not in seen]


def expect(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """Make sure that each event has a delivery to this handler: due now, if there was none."""
    deliveries = [new(event, handler) for event in events]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)


def forgotten(event: events_pb2.Event, handler: handlers.Handler) -> bool:
    """Return whether an event was delivered so long ago that its delivery has been removed."""
    if feed.at(event) > feed.reached()[handler.name]:
        return False
    return not Delivery.objects.filter(event_id=event.id, handler=handler.name).exists()


def new(event: events_pb2.Event, handler: handlers.Handler) -> Delivery:
    """Return a delivery that is due now, not yet saved."""
    return Delivery(
        event_id=event.id,
        handler=handler.name,
        context=handler.context,
        type=event.type,
        stream=event.subject,
        version=event.sequence,
        event=to_json(event),
        due_at=Now(),
    )
