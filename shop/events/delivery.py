"""Events that arrive: each handler has its effect once, however often an event comes."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from celery import Task, shared_task
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from google.protobuf.json_format import ParseDict, ParseError

from protos import events_pb2
from shop.events import feed, handlers, unreadable
from shop.events.envelope import Json, to_json
from shop.events.models import Delivery
from shop.refusal import Conflict
from shop.telemetry import correlation

TASK = "shop.events.deliver"

# What comes later than this may be something that has been delivered and then removed.
LATE = timedelta(hours=1)


class NotParked(Conflict):
    """Only a delivery that was given up can be discarded."""

    code = "not_parked"


class NotReplayable(Conflict):
    """It has not had its effect, or its effect must not be had twice."""

    code = "not_replayable"


@shared_task(name=TASK, bind=True)
def deliver(self: Task[Any, Any], events: list[Json]) -> None:
    """Run one context's handlers for events of one type. The queue that they came through says
    whose."""
    queue = (self.request.headers or {})["queue"]
    try:
        received = [_received(event) for event in events]
    except ParseError as error:
        unreadable.park(queue, events, self.request.headers or {}, f"no events: {error}")
        return
    for handler in handlers.registered(context=queue, type=received[0].type):
        handle(received, handler)


def _received(event: Any) -> events_pb2.Event:
    if not (isinstance(event, dict) and event.get("id") and event.get("type")):
        raise ParseError(f"{str(event)[:100]!r} has no id and type")
    return ParseDict(event, events_pb2.Event(), ignore_unknown_fields=True)


def handle(events: list[events_pb2.Event], handler: handlers.Handler) -> int:
    """Let a handler have its effect for events that have come, where it has not had it yet. Says
    for how many it had it now.

    First all of them in one transaction, with their deliveries: that costs the least, and fails
    where one of them fails or has come before. Then each by itself; one that fails is kept, to be
    tried again.
    """
    if handler.in_order and len(events) > 1:
        return sum(handle([event], handler) for event in events)
    try:
        return _have_effect(events, handler)
    except Exception as error:
        if len(events) > 1:
            return sum(handle([event], handler) for event in events)
        return _try_later(events[0], handler, error)


def _have_effect(events: list[events_pb2.Event], handler: handlers.Handler) -> int:
    late = timezone.now() - LATE
    deliveries = [
        _new(event, handler)
        for event in events
        if feed.time(event) > late or not forgotten(event, handler)
    ]
    answers = [delivery.ask() for delivery in deliveries]
    for delivery in deliveries:
        delivery.attempts, delivery.state = 1, Delivery.State.DONE
        delivery.due_at, delivery.done_at = None, timezone.now()
    with transaction.atomic():
        Delivery.objects.bulk_create(deliveries)
        for delivery, answer in zip(deliveries, answers, strict=True):
            delivery.have_effect(answer)
    return len(deliveries)


def _try_later(event: events_pb2.Event, handler: handlers.Handler, error: Exception) -> int:
    """Keep a first attempt that has failed; or, where the event has come before, make the attempt
    that is due."""
    known = Delivery.objects.filter(event_id=event.id, handler=handler.name).only("pk").first()
    if known:
        due = Delivery.claim(known.pk)
        return int(bool(due and due.attempt()))
    delivery = _new(event, handler)
    delivery.hold()
    with suppress(IntegrityError), transaction.atomic():  # it may have come again meanwhile
        delivery.save(force_insert=True)
        delivery.give_back(error)
    return 0


def expect(events: list[events_pb2.Event], handler: handlers.Handler) -> int:
    """Make sure that each event has a delivery to this handler. Those that were missing are
    due now. Says how many were missing."""
    ids = [event.id for event in events]
    known = Delivery.objects.filter(handler=handler.name, event_id__in=ids)
    seen = {str(event_id) for event_id in known.values_list("event_id", flat=True)}
    missing = [_new(event, handler) for event in events if event.id not in seen]
    Delivery.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


def check_replayable(handler: handlers.Handler) -> None:
    """Raises NotReplayable where a handler does not say that it is."""
    if not handler.replay:
        raise NotReplayable(
            f"{handler.name} cannot be replayed: it does not say `replay=True`, which says that "
            "its effects may be had again."
        )


def again(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """Make each event due to this handler, also where it is done. What was discarded stays so.
    Raises NotReplayable."""
    check_replayable(handler)
    expect(events, handler)
    settled = Delivery.objects.filter(
        Q(state=Delivery.State.DONE, done_at__isnull=False) | Q(state=Delivery.State.PARKED),
        handler=handler.name,
        event_id__in=[event.id for event in events],
    )
    settled.update(
        state=Delivery.State.WAITING,
        granted_attempts=F("attempts"),
        due_at=Now(),
        done_at=None,
        error="",
    )


def replay(delivery: Delivery) -> None:
    """Have one delivery that is done once more. Raises NotReplayable."""
    done = Delivery.objects.filter(
        pk=delivery.pk, state=Delivery.State.DONE, done_at__isnull=False
    ).first()
    if not done:
        raise NotReplayable("Only a delivery that is done can be replayed.")
    try:
        handler = handlers.named(done.handler)
    except LookupError as error:
        raise NotReplayable(f"There is {error}.") from None
    again([ParseDict(done.event, events_pb2.Event(), ignore_unknown_fields=True)], handler)


def discard(delivery: Delivery, reason: str) -> None:
    """Settle a parked delivery without its effect: its handler will never have this event. It is
    done then, but at no time. Raises NotParked."""
    by = correlation.current().actor
    parked = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PARKED)
    error = f"discarded by {by}: {reason}; {delivery.error}"
    if not parked.update(state=Delivery.State.DONE, error=error):
        raise NotParked("Only a parked delivery can be discarded.")


def forgotten(event: events_pb2.Event, handler: handlers.Handler) -> bool:
    """Whether an event was delivered so long ago that its delivery has been removed."""
    if feed.at(event) > feed.reached()[handler.name]:
        return False
    return not Delivery.objects.filter(event_id=event.id, handler=handler.name).exists()


def _new(event: events_pb2.Event, handler: handlers.Handler) -> Delivery:
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
