"""Each event has its effect once in each handler, however often it comes and whatever fails."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from protos.order_pb2 import OrderCreated, OrderShipped
from severable.events import delivery, feed, handlers, pending, reconciler
from severable.events.envelope import from_json, to_json
from severable.events.models import Delivery, Event, Subscription
from severable.events.store import append, as_json, envelope
from severable.jobs.models import Lease
from severable.jobs.tasks import run
from severable.telemetry import correlation
from tests.events.recorded import older
from tests.machine import eventually, settle

CREATED = OrderCreated(order_id="o1", user_id=7)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Subscriber:
    """A handler whose effect is a row, and which fails as often as it is told."""

    def __init__(self) -> None:
        self.failures, self.refused = 0, ""
        self.correlation = ""

    def __call__(self, event: OrderCreated) -> None:
        Lease.objects.create(name=f"{event.order_id} {random.random()}", expires_at=LONG_AGO)
        self.correlation = correlation.current().id
        if self.failures or event.order_id == self.refused:
            self.failures = max(0, self.failures - 1)
            raise ZeroDivisionError("not today")

    @property
    def effects(self) -> Counter[str]:
        names = Lease.objects.values_list("name", flat=True)
        return Counter(name.partition(" ")[0] for name in names)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    subscriber = Subscriber()
    only = handlers.Handler(
        "orders.test", "orders", "order.OrderCreated", subscriber, (), batch=True
    )
    with handlers.overridden(only):
        yield subscriber


def recorded(message: Any = CREATED, stream: str = "order-o1") -> Event:
    with transaction.atomic():
        return append(message, stream=stream)


def arrive(event: Event, queue: str = "orders") -> None:
    """As a worker gets it from a queue."""
    delivery.deliver.apply(([to_json(envelope(event))],), headers={"queue": queue})


def fail_until_parked(row: Delivery) -> None:
    while row.state == Delivery.State.WAITING:
        row.owned().update(due_at=LONG_AGO)
        run(row._meta.label, str(row.pk))
        row.refresh_from_db()


@pytest.mark.django_db
def test_an_event_that_comes_five_times_has_one_effect(subscriber: Subscriber) -> None:
    event = recorded()
    for _ in range(5):
        arrive(event)
    assert subscriber.effects == {"o1": 1}


@pytest.mark.django_db
def test_a_queue_brings_an_event_to_its_own_context_only(subscriber: Subscriber) -> None:
    arrive(recorded(), queue="users")
    assert subscriber.effects == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("batch", "committed_before"), [(True, [0, 0, 0]), (False, [0, 1, 2])])
def test_a_handler_that_locks_shared_rows_has_a_transaction_for_each_event(
    batch: bool, committed_before: list[int]
) -> None:
    """Batches of sales locked the same products in different orders: PostgreSQL needed a second to
    see the deadlock, and all orders waited for it."""
    commits: list[str] = []
    seen: list[int] = []

    def sell(event: OrderCreated) -> None:
        seen.append(len(commits))
        transaction.on_commit(lambda: commits.append(event.order_id))

    only = handlers.Handler("orders.test", "orders", "order.OrderCreated", sell, (), batch=batch)
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(3)]
    with handlers.overridden(only):
        assert delivery.handle([envelope(event) for event in events], only) == 3
    assert seen == committed_before


@pytest.mark.django_db(transaction=True)
def test_shuffled_duplicates_at_two_workers_have_one_effect_each(subscriber: Subscriber) -> None:
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(40)]
    copies = events * 3
    random.Random(1).shuffle(copies)

    def work(mine: list[Event]) -> None:
        try:
            for event in mine:
                arrive(event)
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=(copies[n::2],)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    settle()
    assert subscriber.effects == {f"o{n}": 1 for n in range(40)}


@pytest.mark.django_db
def test_one_that_fails_among_many_takes_no_other_with_it(subscriber: Subscriber) -> None:
    """Events that come together are handled in one transaction."""
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(5)]
    only = handlers.named("orders.test")
    subscriber.refused = "o3"
    assert delivery.handle([envelope(event) for event in events], only) == 4
    assert subscriber.effects == {"o0": 1, "o1": 1, "o2": 1, "o4": 1}
    parts = Delivery.objects.values_list("stream", "state", "attempts").order_by("stream")
    assert list(parts)[3] == ("order-o3", "waiting", 1)
    assert [state for _, state, _ in parts].count("done") == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("count", [1, 5])
def test_deliveries_cost_three_statements_besides_the_handler_s(
    subscriber: Subscriber, count: int
) -> None:
    """A SELECT first, a savepoint or a claim for each delivery doubles the work of the database."""
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(count)]
    with CaptureQueriesContext(connection) as captured:
        delivery.handle([envelope(event) for event in events], handlers.named("orders.test"))
    statements = [query["sql"].split()[0] for query in captured]
    assert statements == ["BEGIN", "INSERT", *["INSERT"] * count, "COMMIT"]


@pytest.mark.django_db(transaction=True)
def test_the_next_attempt_of_a_delivery_costs_five_statements(subscriber: Subscriber) -> None:
    subscriber.failures = 1
    arrive(recorded())
    Delivery.objects.update(due_at=LONG_AGO)
    with CaptureQueriesContext(connection) as captured:
        run(Delivery._meta.label, str(Delivery.objects.get().pk))
    statements = [query["sql"].split()[0] for query in captured]
    assert statements == ["SELECT", "UPDATE", "SELECT", "BEGIN", "UPDATE", "INSERT", "COMMIT"]


@pytest.mark.django_db
def test_the_json_form_of_a_stored_event_is_that_of_its_envelope() -> None:
    """What the broker brings must equal what the feed brings."""
    event = recorded()
    assert from_json(as_json(event)) == envelope(event)
    assert as_json(event).keys() == to_json(envelope(event)).keys()


@pytest.mark.django_db
def test_an_event_that_is_twice_in_a_message_has_one_effect(subscriber: Subscriber) -> None:
    """Regression: the row was inserted once, and the handler ran for both."""
    twice = [envelope(recorded())] * 2
    assert delivery.handle(twice, handlers.named("orders.test")) == 1
    assert subscriber.effects == {"o1": 1}


@pytest.mark.django_db
def test_some_that_have_come_before_are_passed_over(subscriber: Subscriber) -> None:
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(5)]
    only = handlers.named("orders.test")
    assert delivery.handle([envelope(events[2])], only) == 1
    assert delivery.handle([envelope(event) for event in events], only) == 4
    assert subscriber.effects == {f"o{n}": 1 for n in range(5)}


@pytest.mark.django_db
def test_a_failed_handler_leaves_no_effect_and_is_tried_again(subscriber: Subscriber) -> None:
    subscriber.failures = 1
    event = recorded()
    arrive(event)
    row = Delivery.objects.get()
    assert subscriber.effects == {}
    assert (row.state, row.attempts, row.error) == (
        "waiting",
        1,
        "ZeroDivisionError: not today",
    )
    row.retry_now()
    settle()
    assert subscriber.effects == {"o1": 1}


@pytest.mark.django_db
def test_a_poison_event_is_parked_and_the_others_flow(subscriber: Subscriber) -> None:
    subscriber.failures = Delivery.max_attempts or 0
    arrive(recorded())
    fail_until_parked(Delivery.objects.get())
    arrive(recorded(OrderCreated(order_id="o2"), "order-o2"))
    row = Delivery.objects.get(stream="order-o1")
    assert (row.state, row.attempts) == ("parked", Delivery.max_attempts)
    assert subscriber.effects == {"o2": 1}


@pytest.mark.django_db
def test_what_dies_at_work_is_counted_before_it_begins(subscriber: Subscriber) -> None:
    """A handler that kills its process leaves no error behind, and must be parked all the same."""
    event = recorded()
    handler = handlers.named("orders.test")
    pending.create_missing([envelope(event)], handler)
    row = Delivery.objects.get()
    for _ in range(Delivery.max_attempts or 0):
        Delivery.claim(row.pk)  # and here the process dies
        Delivery.objects.filter(pk=row.pk).update(due_at=LONG_AGO)
        Delivery.park_exhausted(Delivery.due())
    assert Delivery.objects.get().state == "parked"


@pytest.mark.django_db
def test_a_message_that_killed_its_worker_is_handled_with_care(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again at once, and kills the next worker: uncounted, for as long as the broker
    brings it, and with the others of its message never handled."""
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(4)]
    brought = {"headers": {"queue": "orders"}, "delivery_info": {"redelivered": True}}
    message = [to_json(envelope(event)) for event in events]

    def kill(event: OrderCreated) -> None:
        if event.order_id == "o1":
            raise SystemExit
        subscriber(event)

    only = handlers.Handler("orders.test", "orders", "order.OrderCreated", kill, ())
    delivery.deliver.push_request(**brought)
    with handlers.overridden(only):
        with pytest.raises(SystemExit):
            delivery.deliver.run(message)
        assert Delivery.objects.get(stream="order-o1").attempts == 1
        delivery.deliver.run(message)
    delivery.deliver.pop_request()
    assert subscriber.effects == {"o0": 1, "o2": 1, "o3": 1}
    assert Delivery.objects.get(state="waiting").stream == "order-o1"


@pytest.mark.django_db
def test_a_late_worker_cannot_have_the_effect_again(subscriber: Subscriber) -> None:
    """Its lease ran out while it slept, and another worker has done the work."""
    event = recorded()
    handler = handlers.named("orders.test")
    pending.create_missing([envelope(event)], handler)
    late = Delivery.claim(Delivery.objects.get().pk)
    assert late
    Delivery.objects.update(due_at=LONG_AGO)
    other = Delivery.claim(late.pk)
    assert other and other.attempt()
    assert not late.attempt()
    assert subscriber.effects == {"o1": 1}


@pytest.mark.django_db
def test_an_event_of_an_unknown_type_is_parked_not_lost(subscriber: Subscriber) -> None:
    event = recorded()
    pending.create_missing([envelope(event)], handlers.named("orders.test"))
    Delivery.objects.update(event={**to_json(envelope(event)), "type": "nobody.Knows"})
    fail_until_parked(Delivery.objects.get())
    assert "nobody" in Delivery.objects.get().error


@pytest.mark.django_db
def test_effects_belong_to_the_request_that_caused_them(subscriber: Subscriber) -> None:
    with correlation.correlated(correlation.Correlation("request-1")):
        event = recorded()
    arrive(event)
    assert subscriber.correlation == "request-1"


def reconcile(*, until: int) -> None:
    """Compare until there are so many deliveries. A transaction that another test holds open on
    the same PostgreSQL keeps later events back: rightly, so this is patient."""
    deadline = time.monotonic() + 60
    while Delivery.objects.count() < until and time.monotonic() < deadline:
        reconciler.reconcile()


@pytest.mark.django_db(transaction=True)
def test_what_the_broker_lost_is_found_and_delivered_once(
    subscriber: Subscriber, no_grace: None
) -> None:
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(6)]
    recorded(OrderShipped(order_id="o1"), "order-o1")
    for event in events[::2]:
        arrive(event)
    reconcile(until=6)
    reconciler.reconcile()
    for row in Delivery.due():
        run(row._meta.label, str(row.pk))
    assert subscriber.effects == {f"o{n}": 1 for n in range(6)}


@pytest.mark.django_db(transaction=True)
def test_an_event_on_its_way_is_not_called_missing(subscriber: Subscriber) -> None:
    recorded()
    reconciler.reconcile()
    assert not Delivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_late_is_not_lost(subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with more to do than it can had the same brought to it twice, the second time
    one by one: it never caught up."""
    monkeypatch.setattr(reconciler, "monotonic", lambda: 100.0)
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(6)]
    older(timedelta(minutes=1))
    for event in (events[0], events[1], events[3]):
        arrive(event)
    eventually(lambda: compared_up_to(events[1]))
    assert list(due()) == []
    monkeypatch.setattr(reconciler, "monotonic", lambda: 100.0 + reconciler.OVERTAKEN)
    reconcile(until=4)
    assert list(due()) == ["order-o2"]
    monkeypatch.setattr(reconciler, "monotonic", lambda: 100.0 + reconciler.STALLED)
    reconcile(until=6)
    assert list(due()) == ["order-o2", "order-o4", "order-o5"]  # for nothing comes any more


def compared_up_to(event: Event) -> bool:
    reconciler.reconcile()
    return Subscription.objects.filter(position=event.position).exists()


def due() -> Any:
    return Delivery.due().order_by("stream").values_list("stream", flat=True)


@pytest.mark.django_db(transaction=True)
def test_a_long_past_is_found_at_one_go(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page that was made up for counted as if something had come: a new handler was given
    five hundred events in ten seconds."""
    monkeypatch.setattr(reconciler, "BATCH", 3)
    monkeypatch.setattr(reconciler, "monotonic", lambda: 100.0)
    for number in range(8):
        last = recorded(OrderCreated(order_id=f"o{number}"), f"order-o{number}")
    older(timedelta(minutes=1))
    eventually(lambda: len(feed.read("orders", [last.type], feed.START)[0]) == 8)
    reconciler.reconcile()
    monkeypatch.setattr(reconciler, "monotonic", lambda: 100.0 + reconciler.STALLED)
    while reconciler.reconcile():
        pass
    assert Delivery.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_what_comes_after_it_was_called_lost_is_handled_with_the_rest(
    subscriber: Subscriber, no_grace: None
) -> None:
    """In the one transaction of the message, and by nobody else again."""
    events = [recorded(OrderCreated(order_id=f"o{n}"), f"order-o{n}") for n in range(4)]
    reconcile(until=4)
    Delivery.claim(Delivery.objects.get(stream="order-o3").pk)  # somebody is at that one
    with CaptureQueriesContext(connection) as queries:
        delivery.handle([envelope(event) for event in events], handlers.named("orders.test"))
    assert sum(query["sql"].startswith("BEGIN") for query in queries) <= 1
    assert list(due()) == []
    for row in Delivery.objects.all():
        run(row._meta.label, str(row.pk))
    assert subscriber.effects == {"o0": 1, "o1": 1, "o2": 1}


@pytest.mark.django_db
def test_a_failure_is_kept_for_the_event_that_failed(subscriber: Subscriber) -> None:
    """The first of the message had come before: the failure was noted nowhere, or with it."""
    known, failing = (
        recorded(OrderCreated(order_id=name), f"order-{name}") for name in ("o1", "o2")
    )
    arrive(known)
    subscriber.refused = "o2"
    delivery.handle([envelope(known), envelope(failing)], handlers.named("orders.test"))
    states = dict(Delivery.objects.values_list("stream", "state"))
    assert states == {"order-o1": "done", "order-o2": "waiting"}
    assert Delivery.objects.get(stream="order-o2").error == "ZeroDivisionError: not today"


@pytest.mark.django_db(transaction=True)
def test_more_events_than_one_page_are_all_compared(
    subscriber: Subscriber, no_grace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BATCH", 3)
    for number in range(8):
        recorded(OrderCreated(order_id=f"o{number}"), f"order-o{number}")
    reconcile(until=8)
    assert Delivery.objects.count() == 8
