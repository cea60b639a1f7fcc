"""Delivery of events to handlers: each handler runs once per event, however often it arrives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from celery import Task, shared_task
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from google.protobuf.json_format import ParseDict, ParseError

from severable.errors import Conflict
from severable.events import feed, handlers, malformed, pending
from severable.events.envelope import Json
from severable.events.models import Delivery
from severable.events.ordering import wait_for_earlier
from severable.jobs.executors import executes
from severable.jobs.models import LeaseLost
from severable.protos import events_pb2
from severable.telemetry import correlation
from severable.telemetry.tracing import span

TASK = "severable.events.deliver"

# An older event may have been delivered already, and its delivery removed.
MAX_TRANSIT = timedelta(hours=1)


class NotParked(Conflict):
    """Only a parked delivery can be discarded."""

    code = "not_parked"


class NotReplayable(Conflict):
    """The delivery is not done, or its handler does not allow replay."""

    code = "not_replayable"


@shared_task(name=TASK, bind=True)
def deliver(self: Task[Any, Any], events: list[Json]) -> None:
    """Run the handlers of the queue's context for events of one type."""
    queue = (self.request.headers or {})["queue"]
    try:
        received = [_received(event) for event in events]
    except ParseError as error:
        malformed.park(queue, events, self.request.headers or {}, f"malformed events: {error}")
        return
    again = (self.request.delivery_info or {}).get("redelivered")
    for handler in handlers.registered(context=queue, type=received[0].type):
        (handle_one_by_one if again else handle)(received, handler)


def _received(event: Any) -> events_pb2.Event:
    if not (isinstance(event, dict) and event.get("id") and event.get("type")):
        raise ParseError(f"{str(event)[:100]!r} has no id and type")
    return ParseDict(event, events_pb2.Event(), ignore_unknown_fields=True)


def handle(events: list[events_pb2.Event], handler: handlers.Handler) -> int:
    """Run a handler for the events that it has not handled. Return their number.

    All of them run in one transaction with their deliveries; if one fails, each runs in its own
    transaction, and those that fail are stored to be retried.
    """
    if handler.in_order and len(events) > 1:
        return sum(handle([event], handler) for event in events)
    try:
        return _apply(_untried(events, handler))
    except Exception as error:
        if len(events) > 1:
            return sum(handle([event], handler) for event in events)
        _save_failure(events[0], handler, error)
        return 0


def handle_one_by_one(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """Run a handler for redelivered events: the previous worker may have crashed on one of them.

    Each runs by itself, and its attempt is counted before it starts."""
    new = [delivery for delivery in _untried(events, handler) if delivery.pk is None]
    Delivery.objects.bulk_create(new, ignore_conflicts=True)
    waiting = pending.deliveries_of(events, handler).filter(state=Delivery.State.WAITING)
    for pk in list(waiting.order_by("event_id").values_list("pk", flat=True)):
        claimed = Delivery.claim(pk)
        if claimed:
            claimed.attempt()


def _untried(events: list[events_pb2.Event], handler: handlers.Handler) -> list[Delivery]:
    """Return the deliveries of the events without an attempt. The others' rows say when they are
    due."""
    late = timezone.now() - MAX_TRANSIT
    rows = {str(row.event_id): row for row in pending.deliveries_of(events, handler)}
    known = [row for row in rows.values() if row.attempts == 0 and row.state == row.State.WAITING]
    new = [event for event in events if event.id not in rows]
    return known + [
        pending.new_delivery(event, handler)
        for event in new
        if feed.time_of(event) > late or not pending.was_removed(event, handler)
    ]


def _apply(untried: list[Delivery]) -> int:
    prefetched = [_prefetch(delivery) for delivery in untried]
    with transaction.atomic():
        _complete(untried)
        for delivery, answers in zip(untried, prefetched, strict=True):
            _run_handler(delivery, answers)
    return len(untried)


@executes(Delivery)
def execute(delivery: Delivery) -> None:
    """Run the handler of a claimed delivery in the transaction that marks it done."""
    answers = _prefetch(delivery)
    with transaction.atomic():
        delivery.complete(done_at=timezone.now())
        _run_handler(delivery, answers)


def _prefetch(delivery: Delivery) -> list[Any]:
    """Return what the handler needs from other contexts, fetched outside any transaction.

    Raises NotYet if an earlier event must be handled first.
    """
    handler = handlers.named(delivery.handler)
    if handler.in_order:
        wait_for_earlier(delivery)
    with _correlated(delivery):
        return [fetch(delivery.message) for fetch in handler.prefetch]


def _run_handler(delivery: Delivery, answers: list[Any]) -> None:
    with _correlated(delivery):
        handlers.named(delivery.handler).function(delivery.message, *answers)


@contextmanager
def _correlated(delivery: Delivery) -> Iterator[None]:
    event = delivery.envelope
    why = correlation.Correlation(event.correlationid, causation=event.id, actor=event.actor)
    name = f"{delivery.type} to {delivery.handler}"
    with correlation.correlated(why), span(name, event.traceparent):
        yield


def _complete(untried: list[Delivery]) -> None:
    """Mark deliveries done by their first attempt. Raises IntegrityError or LeaseLost if another
    worker has made one."""
    done = {"attempts": 1, "state": Delivery.State.DONE, "due_at": None, "done_at": timezone.now()}
    new = [delivery for delivery in untried if delivery.pk is None]
    known = [delivery.pk for delivery in untried if delivery.pk is not None]
    for delivery in new:
        for name, value in done.items():
            setattr(delivery, name, value)
    Delivery.objects.bulk_create(new)
    waiting = Delivery.objects.filter(pk__in=known, state=Delivery.State.WAITING, attempts=0)
    if waiting.update(**done) < len(known):
        raise LeaseLost


def _save_failure(event: events_pb2.Event, handler: handlers.Handler, error: Exception) -> None:
    """Store a failed first attempt, unless there was one before."""
    known = pending.deliveries_of([event], handler).only("pk").first()
    if known:
        claimed = Delivery.claim(known.pk)
        if claimed:
            claimed.reschedule(error)
        return
    delivery = pending.new_delivery(event, handler)
    delivery.acquire()
    with suppress(IntegrityError), transaction.atomic():  # another worker may have inserted it
        delivery.save(force_insert=True)
        delivery.reschedule(error)


def check_replayable(handler: handlers.Handler) -> None:
    """Raise NotReplayable if a handler does not allow replay."""
    if not handler.replay:
        raise NotReplayable(
            f"{handler.name} cannot be replayed: its subscription does not set `replay=True`, "
            "which says that it may handle an event again."
        )


def redeliver(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """Make events due to a handler, also those that are done, except discarded ones. Raises
    NotReplayable."""
    check_replayable(handler)
    pending.create_missing(events, handler)
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
    """Make a delivery that is done due again. Raises NotReplayable."""
    done = Delivery.objects.filter(
        pk=delivery.pk, state=Delivery.State.DONE, done_at__isnull=False
    ).first()
    if not done:
        raise NotReplayable("Only a delivery that is done can be replayed.")
    try:
        handler = handlers.named(done.handler)
    except LookupError as error:
        raise NotReplayable(f"There is {error}.") from None
    redeliver([ParseDict(done.event, events_pb2.Event(), ignore_unknown_fields=True)], handler)


def discard(delivery: Delivery, reason: str) -> None:
    """Mark a parked delivery done without running its handler; `done_at` stays empty. Raises
    NotParked."""
    by = correlation.current().actor
    parked = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PARKED)
    error = f"discarded by {by}: {reason}; {delivery.error}"
    if not parked.update(state=Delivery.State.DONE, error=error):
        raise NotParked("Only a parked delivery can be discarded.")
