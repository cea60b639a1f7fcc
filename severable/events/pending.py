"""The delivery rows of events: find, create."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from severable.events import feed, handlers
from severable.events.envelope import to_json
from severable.events.models import Delivery
from severable.protos import events_pb2


def deliveries_of(events: list[events_pb2.Event], handler: handlers.Handler) -> QuerySet[Delivery]:
    """Return the deliveries of some events to a handler."""
    ids = [event.id for event in events]
    return Delivery.objects.filter(handler=handler.name, event_id__in=ids)


def without_delivery(
    events: list[events_pb2.Event], handler: handlers.Handler
) -> list[events_pb2.Event]:
    """Return the events that have no delivery to a handler."""
    seen = set(deliveries_of(events, handler).values_list("event_id", flat=True))
    return [event for event in events if UUID(event.id) not in seen]


def create_missing(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """Create a delivery that is due now for each event that has none to this handler."""
    deliveries = [new_delivery(event, handler) for event in events]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)


def was_removed(event: events_pb2.Event, handler: handlers.Handler) -> bool:
    """Return whether an event was delivered and its delivery has been removed since."""
    if feed.position_of(event) > feed.positions()[handler.name]:
        return False
    return not Delivery.objects.filter(event_id=event.id, handler=handler.name).exists()


def new_delivery(event: events_pb2.Event, handler: handlers.Handler) -> Delivery:
    """Return an unsaved delivery that is due now."""
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
