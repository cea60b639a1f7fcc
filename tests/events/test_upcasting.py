"""Events whose meaning has changed reach handlers in their present meaning, whichever way."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from protos.order_pb2 import OrderPaid
from protos.upcasters import UPCASTERS
from severable.events import delivery, feed, handlers, reconciler
from severable.events.envelope import Json, NewerEvent, to_json, to_message
from severable.events.models import Delivery, Event
from severable.events.relay import Relay
from severable.events.store import append, envelope
from tests.machine import do_jobs, eventually

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "order.OrderPaid"


def euros_to_cents(data: Json) -> Json:
    return data | {"total": str(int(str(data["total"])) * 100)}


def currency_named(data: Json) -> Json:
    return data | {"currency": data["currency"] or "EUR"}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, no_grace: None) -> list[tuple[int, str]]:
    """What a handler has been told of totals and currencies."""
    told: list[tuple[int, str]] = []

    def hear(event: OrderPaid) -> None:
        told.append((event.total, event.currency))

    only = handlers.Handler("orders.test", "orders", TYPE, hear, (), replay=True)
    monkeypatch.setattr(handlers, "_handlers", {only.name: only})
    return told


@pytest.fixture
def old(heard: Any, monkeypatch: pytest.MonkeyPatch) -> Event:
    """An event that was recorded before its meaning changed, twice."""
    with transaction.atomic():
        event = append(OrderPaid(order_id="o1", total=18), stream="order-o1")
    monkeypatch.setitem(UPCASTERS, TYPE, [euros_to_cents, currency_named])
    eventually(lambda: bool(feed.read("orders", [TYPE], feed.START)[0]))
    return event


def wire(event: Event) -> Any:
    """The message that the relay publishes of an event."""

    class Producer:
        def publish(self, body: Any, **properties: Any) -> None:
            self.body = body

    producer = Producer()
    Relay()._send(producer, [event])  # type: ignore[arg-type]
    return producer.body[0][0][0]


def arrive(message: Any) -> None:
    delivery.deliver.apply(([message],), headers={"queue": "orders"})


def test_through_the_broker(old: Event, heard: list[Any]) -> None:
    arrive(wire(old))
    assert heard == [(1800, "EUR")]


def test_through_the_feed(old: Event, heard: list[Any]) -> None:
    eventually(lambda: reconciler.reconcile() or do_jobs() == 1)
    assert heard == [(1800, "EUR")]


def test_in_a_replay(old: Event, heard: list[Any]) -> None:
    """Also where the delivery has kept the event as it came."""
    Delivery.objects.create(
        event_id=old.id,
        handler="orders.test",
        context="orders",
        type=TYPE,
        stream=old.stream,
        event=to_json(envelope(old)),
        state="done",
        done_at=old.recorded_at,
    )
    call_command("replay", "--handler", "orders.test", "--from", "0")
    do_jobs()
    assert heard == [(1800, "EUR")]


def test_what_is_recorded_today_is_left_as_it_is(old: Event, heard: list[Any]) -> None:
    with transaction.atomic():
        new = append(OrderPaid(order_id="o2", total=1800, currency="CHF"), stream="order-o2")
    assert (old.data_version, new.data_version) == (1, 3)
    arrive(wire(new))
    assert heard == [(1800, "CHF")]


def test_a_sender_that_knows_no_versions_means_the_first(old: Event, heard: list[Any]) -> None:
    message = wire(old)
    del message["dataversion"]
    arrive(message)
    assert heard == [(1800, "EUR")]


def test_an_event_of_tomorrow_is_parked_and_says_why(
    old: Event, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cents that are taken for euros; an event that is dropped because it cannot be read."""
    with transaction.atomic():
        new = append(OrderPaid(order_id="o2", total=1800), stream="order-o2")
    monkeypatch.setitem(UPCASTERS, TYPE, [])  # this deployment is a version behind
    monkeypatch.setattr(Delivery, "max_attempts", 1)
    with pytest.raises(NewerEvent):
        to_message(envelope(new))
    arrive(wire(new))
    row = Delivery.objects.get()
    assert row.state == "parked"
    assert "order.OrderPaid has version 3, and this deployment knows 1" in row.error
    assert heard == []

    monkeypatch.setitem(UPCASTERS, TYPE, [euros_to_cents, currency_named])
    row.retry_now()
    do_jobs()
    assert heard == [(1800, "")]
