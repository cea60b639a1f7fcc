"""Replay: a read model is made anew, and no mail is sent again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import grpc
import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F

from apps.users.models import User
from protos.order_pb2 import OrderCreated, OrderShipped
from severable.events import delivery, feed, handlers, replay
from severable.events.models import Delivery, Event, Subscription
from severable.events.store import append
from severable.jobs.models import Lease
from tests.machine import eventually, settle

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def model() -> Iterator[handlers.Handler]:
    """A read model: a row for each order that was created."""

    def add(event: OrderCreated) -> None:
        Lease.objects.create(name=event.order_id, expires_at=LONG_AGO)

    only = handlers.Handler("orders.model", "orders", "order.OrderCreated", add, (), replay=True)
    with handlers.overridden(only):
        yield only


@pytest.fixture
def events(model: handlers.Handler) -> list[Event]:
    """Seven orders, created and delivered, and one that was shipped."""
    made = []
    for number in range(7):
        with transaction.atomic():
            created = OrderCreated(order_id=f"o{number}")
            made.append(append(created, stream=f"order-o{number}"))
    with transaction.atomic():
        append(OrderShipped(order_id="o1"), stream="order-o1")
    settle()
    eventually(lambda: len(feed.read("orders", [model.type], feed.START)[0]) == 7)
    return made


def rows() -> list[str]:
    return sorted(Lease.objects.values_list("name", flat=True))


def replayed(*options: str) -> str:
    out = StringIO()
    call_command("replay", "--handler", "orders.model", *options, stdout=out)
    return out.getvalue()


def test_a_read_model_is_made_anew(events: list[Event]) -> None:
    Lease.objects.all().delete()
    assert replayed("--from", "0") == "7 events are due to orders.model again.\n"
    settle()
    assert rows() == [f"o{n}" for n in range(7)]
    assert not Subscription.objects.filter(handler__startswith="replay").exists()


@pytest.mark.parametrize("form", ["position", "date"])
def test_it_begins_where_it_is_told(events: list[Event], form: str) -> None:
    start = f"{events[3].transaction_id}:{events[3].position}"
    if form == "date":
        old = [event.pk for event in events[:4]]
        Event.objects.filter(pk__in=old).update(recorded_at=F("recorded_at") - timedelta(days=3))
        start = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    Lease.objects.all().delete()
    replayed("--from", start)
    settle()
    assert rows() == ["o4", "o5", "o6"]


def test_interrupted_it_goes_on(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of hours that begins again because the machine was restarted."""
    monkeypatch.setattr(replay, "BATCH", 3)
    replay.begin(handlers.named("orders.model"), feed.START)
    next(replay.run(handlers.named("orders.model")))  # and here the process dies
    assert Delivery.objects.filter(state="waiting").count() == 3
    Lease.objects.all().delete()
    settle()
    assert replayed() == "4 events are due to orders.model again.\n"
    settle()
    assert rows() == [f"o{n}" for n in range(7)]
    with pytest.raises(CommandError, match=r"No replay of orders\.model was interrupted"):
        replayed()


def test_what_was_discarded_stays_so_and_what_was_never_delivered_comes(
    events: list[Event],
) -> None:
    Lease.objects.all().delete()
    Delivery.objects.filter(event_id=events[0].id).update(state="parked", done_at=None)
    delivery.discard(Delivery.objects.get(event_id=events[0].id), "a test")
    Delivery.objects.filter(event_id=events[1].id).delete()
    Delivery.objects.filter(event_id=events[2].id).update(state="parked", attempts=8)
    replayed("--from", "0")
    settle()
    assert rows() == [f"o{n}" for n in range(1, 7)]


def test_a_late_worker_cannot_finish_what_is_due_again(events: list[Event]) -> None:
    """The attempt of the first time has the number of the second one's."""
    late = Delivery.objects.get(event_id=events[0].id)
    replayed("--from", "0")
    assert Delivery.claim(late.pk)
    assert not late.owned().exists()


def test_mails_are_never_replayed(alice: User) -> None:
    """A customer who is welcomed once more, years later."""
    settle()
    with pytest.raises(CommandError, match=r"notifications\.welcome cannot be replayed"):
        call_command("replay", "--handler", "notifications.welcome", "--from", "0")
    settle()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("handler", "start", "complaint"),
    [
        ("orders.nobody", "0", "no handler 'orders.nobody' here; .* replay: orders.model"),
        ("orders.model", "yesterday", "--from is 'yesterday'"),
    ],
)
def test_what_makes_no_sense_is_named(
    model: handlers.Handler, handler: str, start: str, complaint: str
) -> None:
    with pytest.raises(CommandError, match=complaint):
        call_command("replay", "--handler", handler, "--from", start)


def test_a_feed_that_falls_silent_can_be_gone_on_with(
    events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(grpc.RpcError):
        def details(self) -> str:
            return "nobody there"

    def silent(*args: Any) -> Any:
        raise Silent

    with monkeypatch.context() as down, pytest.raises(CommandError, match="nobody there; resume"):
        down.setattr(feed, "read", silent)
        replayed("--from", "0")
    Lease.objects.all().delete()
    replayed()
    settle()
    assert len(rows()) == 7
