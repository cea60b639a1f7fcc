"""Delivery of events to handlers: each handler runs once per event, however often it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from celery import Task, shared_task
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind

from severable.errors import Conflict
from severable.events import handlers, malformed, pending
from severable.events.envelope import Json, from_json, to_message
from severable.events.models import Delivery
from severable.events.ordering import wait_for_earlier
from severable.jobs.executors import executes
from severable.protos.events_pb2 import Event
from severable.telemetry import correlation
from severable.telemetry.tracing import message_attributes, span

TASK = "severable.events.deliver"


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
        received = [from_json(event) for event in events]
    except ParseError as error:
        malformed.park(queue, events, self.request.headers or {}, f"malformed events: {error}")
        return
    redelivered = bool((self.request.delivery_info or {}).get("redelivered"))
    for handler in handlers.registered(context=queue, type=received[0].type):
        handle(received, handler, redelivered=redelivered)


def handle(events: list[Event], handler: handlers.Handler, *, redelivered: bool = False) -> int:
    """Run a handler for the events that it has not handled. Return their number.

    Each runs in a transaction with its delivery, or all in one if the handler sets `batch=True`; if
    one of these fails, each runs in its own. Those that fail are stored for a retry. Attempts at
    `redelivered` events are counted before they start, because the previous worker may have crashed
    on one of them.
    """
    events = pending.deliverable(events, handler)
    if redelivered:
        pending.create_missing(events, handler)
        return sum(row.attempt() for row in pending.claim_untried(events, handler))
    if (handler.in_order or not handler.batch) and len(events) > 1:
        return sum(handle([event], handler) for event in events)
    try:
        return _run(handler, events, partial(pending.insert_done, events, handler))
    except Exception as error:
        if len(events) > 1:
            return sum(handle([event], handler) for event in events)
        pending.create_missing(events, handler)
        for row in pending.claim_untried(events, handler):
            row.reschedule(error)
        return 0


@executes(Delivery)
def execute(delivery: Delivery) -> None:
    """Run the handler of a claimed delivery."""
    event = from_json(delivery.event)

    def complete() -> set[str]:
        delivery.complete(done_at=timezone.now())
        return {event.id}

    _run(handlers.named(delivery.handler), [event], complete)


def _run(handler: handlers.Handler, events: list[Event], mark: Callable[[], set[str]]) -> int:
    """Run a handler in the transaction that marks its deliveries done. Return their number.

    `mark` returns the ids of the events to handle. What the handler needs from other contexts is
    fetched before the transaction. Raises NotYet if an earlier event must be handled first.
    """
    messages = [to_message(event) for event in events]
    prefetched = [_prefetch(handler, *pair) for pair in zip(events, messages, strict=True)]
    with transaction.atomic():
        marked = mark()
        for event, message, fetched in zip(events, messages, prefetched, strict=True):
            if event.id in marked:
                with _correlated(handler, event):
                    handler.function(message, *fetched)
    return len(marked)


def _prefetch(handler: handlers.Handler, event: Event, message: Message) -> list[Any]:
    if handler.in_order:
        wait_for_earlier(event, handler)
    if not handler.prefetch:
        return []
    name = f"prefetch of {handler.name}"
    with _correlation(event), span(name, event.traceparent):
        return [fetch(message) for fetch in handler.prefetch]


@contextmanager
def _correlated(handler: handlers.Handler, event: Event) -> Iterator[None]:
    attributes = message_attributes("process", event.type, event.id)
    name = f"{event.type} to {handler.name}"
    with _correlation(event), span(name, event.traceparent, SpanKind.CONSUMER, attributes):
        yield


def _correlation(event: Event) -> AbstractContextManager[None]:
    return correlation.correlated(
        correlation.Correlation(event.correlationid, causation=event.id, actor=event.actor)
    )


def check_replayable(handler: handlers.Handler) -> None:
    """Raise NotReplayable if a handler does not allow replay."""
    if not handler.replay:
        raise NotReplayable(
            f"{handler.name} cannot be replayed: its subscription does not set `replay=True`, "
            "which says that it may handle an event again."
        )


def redeliver(events: list[Event], handler: handlers.Handler) -> None:
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
    redeliver([from_json(done.event)], handler)


def discard(delivery: Delivery, reason: str) -> None:
    """Mark a parked delivery done without running its handler; `done_at` stays empty. Raises
    NotParked."""
    by = correlation.current().actor
    parked = Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.PARKED)
    error = f"discarded by {by}: {reason}; {delivery.error}"
    if not parked.update(state=Delivery.State.DONE, error=error):
        raise NotParked("Only a parked delivery can be discarded.")
