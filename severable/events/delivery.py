"""Events that arrive: each handler has its effect once, however often an event comes."""

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
        malformed.park(queue, events, self.request.headers or {}, f"no events: {error}")
        return
    again = (self.request.delivery_info or {}).get("redelivered")
    for handler in handlers.registered(context=queue, type=received[0].type):
        (handle_one_by_one if again else handle)(received, handler)


def _received(event: Any) -> events_pb2.Event:
    if not (isinstance(event, dict) and event.get("id") and event.get("type")):
        raise ParseError(f"{str(event)[:100]!r} has no id and type")
    return ParseDict(event, events_pb2.Event(), ignore_unknown_fields=True)


def handle(events: list[events_pb2.Event], handler: handlers.Handler) -> int:
    """Let a handler have its effect for events that have come, where it has not had it yet. Says
    for how many it had it now.

    First all of them in one transaction, with their deliveries: that costs the least, and fails
    where one of them fails. Then each by itself; one that fails is kept, to be tried again.
    """
    if handler.in_order and len(events) > 1:
        return sum(handle([event], handler) for event in events)
    try:
        return _apply(_untried(events, handler))
    except Exception as error:
        if len(events) > 1:
            return sum(handle([event], handler) for event in events)
        _try_later(events[0], handler, error)
        return 0


def handle_one_by_one(events: list[events_pb2.Event], handler: handlers.Handler) -> None:
    """The same, where whoever had these events before may have died of one: each by itself, and
    its attempt is counted before it begins."""
    new = [delivery for delivery in _untried(events, handler) if delivery.pk is None]
    Delivery.objects.bulk_create(new, ignore_conflicts=True)
    waiting = pending.of(events, handler).filter(state=Delivery.State.WAITING)
    for pk in list(waiting.order_by("event_id").values_list("pk", flat=True)):
        claimed = Delivery.claim(pk)
        if claimed:
            claimed.attempt()


def _untried(events: list[events_pb2.Event], handler: handlers.Handler) -> list[Delivery]:
    """The deliveries of those events that nobody has tried to handle. For what has been tried
    already, the row says when that is due again."""
    late = timezone.now() - LATE
    rows = {str(row.event_id): row for row in pending.of(events, handler)}
    known = [row for row in rows.values() if row.attempts == 0 and row.state == row.State.WAITING]
    new = [event for event in events if event.id not in rows]
    return known + [
        pending.new(event, handler)
        for event in new
        if feed.time(event) > late or not pending.forgotten(event, handler)
    ]


def _apply(untried: list[Delivery]) -> int:
    prefetched = [_prefetch(delivery) for delivery in untried]
    with transaction.atomic():
        _settle(untried)
        for delivery, answers in zip(untried, prefetched, strict=True):
            _run_handler(delivery, answers)
    return len(untried)


@executes(Delivery)
def execute(delivery: Delivery) -> None:
    """Run the handler of a claimed delivery, in the transaction that marks it done."""
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


def _settle(untried: list[Delivery]) -> None:
    """Done, by the first attempt. Raises IntegrityError or LeaseLost where somebody else has made
    one meanwhile."""
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


def _try_later(event: events_pb2.Event, handler: handlers.Handler, error: Exception) -> None:
    """Keep a first attempt that has failed, where it was the first."""
    known = pending.of([event], handler).only("pk").first()
    if known:
        claimed = Delivery.claim(known.pk)
        if claimed:
            claimed.reschedule(error)
        return
    delivery = pending.new(event, handler)
    delivery.acquire()
    with suppress(IntegrityError), transaction.atomic():  # it may have come again meanwhile
        delivery.save(force_insert=True)
        delivery.reschedule(error)


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
    pending.expect(events, handler)
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
