"""Handlers that ask for order get it, whatever becomes of the messages on their way."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from django.db import transaction
from django.db.models.functions import Now

from protos.order_pb2 import OrderCancelled, OrderCreated, OrderPaid, OrderShipped
from protos.user_pb2 import UserRegistered
from severable.events import delivery, feed, handlers, pending, reconciler
from severable.events.models import Delivery, Event
from severable.events.store import append, envelope
from severable.jobs.models import Lease
from severable.protos import events_pb2
from tests.machine import do_jobs, eventually
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "orders.follow"
HEARD = [OrderCreated, OrderPaid, OrderShipped]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Follower:
    """Remembers what took effect, and fails as often as it is told. `user_id` is the number of
    the event in its stream."""

    def __init__(self) -> None:
        self.effects: dict[str, list[int]] = defaultdict(list)
        self.fail = lambda: False

    def __call__(self, event: Any) -> None:
        Lease.objects.create(name=f"{event.order_id} {event.user_id}", expires_at=LONG_AGO)
        if self.fail():
            raise ZeroDivisionError("not today")
        self.effects[event.order_id].append(event.user_id)


@pytest.fixture
def follower(no_grace: None) -> Iterator[Follower]:
    follower = Follower()
    follower.__dict__["__module__"] = "apps.orders.handlers"
    follower.__dict__["__name__"] = "follow"
    with handlers.overridden():
        handlers.on(*HEARD, in_order=True)(follower)
        yield follower


def recorded(order: str, *messages: Any) -> list[Event]:
    made = []
    for number, message in enumerate(messages, 1):
        with transaction.atomic():
            stream = f"order-{order}"
            made.append(append(message(order_id=order, user_id=number), stream=stream))
    return made


def arrive(event: Event) -> None:
    for handler in handlers.registered(type=event.type):
        delivery.handle([envelope(event)], handler)


def wait_over() -> None:
    """As if time had passed: what waits has been due again, and what waited for that."""
    for _ in range(3):
        Delivery.objects.filter(state="waiting").update(due_at=Now())
        do_jobs()


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_doubled_and_failing_they_take_effect_in_order(
    follower: Follower, seed: int
) -> None:
    """Two workers that overtake each other; what overtakes an event that failed; what comes
    again after its successor."""
    chance = random.Random(seed)
    events, expected = [], {}
    for order in ("a", "b", "c"):
        types = [chance.choice([*HEARD, OrderCancelled]) for _ in range(7)]
        events += recorded(order, *types)
        expected[order] = [n for n, type in enumerate(types, 1) if type in HEARD]
    copies = [e for e in events for _ in range(chance.randint(0, 3))]  # some never come
    chance.shuffle(copies)
    follower.fail = lambda: chance.random() < 0.2

    def work(worker: int) -> None:
        for event in copies[worker::2]:
            arrive(event)

    together(2, work)
    reconciled(events)
    for _ in range(200):
        if not Delivery.objects.exclude(state="done").exists():
            break
        Delivery.objects.filter(state="waiting").update(due_at=Now())
        together(2, lambda _: do_jobs())
        Delivery.objects.filter(state="parked").update(state="waiting", attempts=0)
    assert follower.effects == {order: n for order, n in expected.items() if n}
    assert Lease.objects.count() == sum(map(len, expected.values()))


def reconciled(events: list[Event]) -> None:
    """The feed has been compared with the deliveries up to the last of these events."""
    heard = {event.id for event in events if event.type in handlers.types_of(NAME)}

    def all_there() -> bool:
        reconciler.reconcile()
        return set(Delivery.objects.values_list("event_id", flat=True)) == heard

    eventually(all_there)


def test_what_never_came_is_fetched_and_waited_for(follower: Follower) -> None:
    """The broker lost a message: the next one must not pass, nor wait for the reconciler."""
    first, _lost, _not_ours, last = recorded(
        "a", OrderCreated, OrderPaid, OrderCancelled, OrderShipped
    )
    arrive(first)
    arrive(last)
    assert follower.effects == {"a": [1]}
    row = Delivery.objects.get(event_id=last.id)
    assert row.error == "version 2 of the stream has not arrived"
    wait_over()
    assert follower.effects == {"a": [1, 2, 4]}


def test_what_comes_while_it_is_looked_for_is_waited_for_too(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes the earlier event between two looks: it is there, but not done."""
    *_, paid, _, shipped = recorded(
        "a", OrderCancelled, OrderCancelled, OrderPaid, OrderCancelled, OrderShipped
    )
    real = feed.last_before
    taken = []

    def meanwhile(*args: Any) -> Any:
        (handler,) = handlers.registered(type=paid.type)
        pending.create_missing([envelope(paid)], handler)
        taken.append(Delivery.claim(Delivery.objects.get(event_id=paid.id).pk))
        return real(*args)

    with monkeypatch.context() as other:
        other.setattr(feed, "last_before", meanwhile)
        arrive(shipped)
    assert follower.effects == {}
    assert taken[0] and taken[0].attempt()
    wait_over()
    assert follower.effects == {"a": [3, 5]}


def test_what_is_parked_holds_up_its_stream_alone_until_it_is_settled(follower: Follower) -> None:
    created, paid = recorded("a", OrderCreated, OrderPaid)
    other, *_ = recorded("b", OrderCreated)
    arrive(created)
    Delivery.objects.update(state="parked")
    follower.effects.clear()
    arrive(paid)
    arrive(other)
    for _ in range(Delivery.max_attempts or 0):
        wait_over()  # and waiting costs no attempt
    assert follower.effects == {"b": [1]}
    row = Delivery.objects.get(event_id=paid.id)
    assert (row.state, row.error) == ("waiting", "version 1 of the stream is parked")

    delivery.discard(Delivery.objects.get(event_id=created.id), "a test")
    wait_over()
    assert follower.effects == {"b": [1], "a": [2]}


def test_a_handler_that_asks_for_no_order_waits_for_nothing(follower: Follower) -> None:
    free = [replace(handler, in_order=False) for handler in handlers.registered()]
    with handlers.overridden(*free):
        arrive(recorded("a", OrderCreated, OrderPaid)[1])
    assert follower.effects == {"a": [2]}


def test_what_was_delivered_and_removed_is_not_waited_for(follower: Follower) -> None:
    """A stream that stops for ever, or begins again, once its deliveries are archived."""
    created, paid, *_, shipped = recorded(
        "a", OrderCreated, OrderPaid, OrderCancelled, OrderShipped
    )
    arrive(created)
    arrive(paid)
    feed.set_position(NAME, (paid.transaction_id, paid.position))
    Delivery.objects.all().delete()
    arrive(shipped)
    assert follower.effects == {"a": [1, 2, 4]}


def test_one_function_hears_several_types_and_has_each_once(follower: Follower) -> None:
    events = recorded("a", OrderCreated, OrderPaid, OrderCancelled, OrderShipped)
    reconciled(events)
    reconciler.reconcile()
    assert Delivery.objects.count() == 3
    wait_over()
    assert follower.effects == {"a": [1, 2, 4]}


def test_the_feed_tells_what_came_before_in_a_stream(follower: Follower) -> None:
    created, paid, *_ = recorded("a", OrderCreated, OrderPaid, OrderCancelled, OrderShipped)
    types = handlers.types_of(NAME)

    def before(version: int) -> str | None:
        found = feed.last_before("orders", types, "order-a", version)
        return found.id if found else None

    assert [before(n) for n in (1, 2, 3, 4)] == [
        None,
        str(created.id),
        str(paid.id),
        str(paid.id),
    ]


def test_a_feed_that_knows_no_streams_is_not_believed(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that is deployed later answers with the first events of all."""
    other, *_ = recorded("b", OrderCreated)
    shipped = recorded("a", OrderCreated, OrderShipped)[1]
    answer = events_pb2.ReadResponse(events=[envelope(other)])
    monkeypatch.setattr(
        feed, "stub", lambda *_: type("Old", (), {"Read": staticmethod(lambda _: answer)})
    )
    arrive(shipped)
    assert follower.effects == {}
    assert "is too old" in Delivery.objects.get(event_id=shipped.id).error


def test_a_silent_feed_is_asked_again(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    _created, shipped = recorded("a", OrderCreated, OrderShipped)

    def silent(*args: Any) -> Any:
        raise grpc.RpcError("silent")

    with monkeypatch.context() as down:
        down.setattr(feed, "last_before", silent)
        arrive(shipped)
    assert follower.effects == {}
    wait_over()
    assert follower.effects == {"a": [1, 2]}


def test_events_of_two_contexts_have_no_order() -> None:
    with pytest.raises(ValueError, match="must subscribe to events of one context"):
        handlers.on(OrderCreated, UserRegistered)(test_events_of_two_contexts_have_no_order)
