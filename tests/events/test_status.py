"""How events get on: the figures are right, cheap, and say when somebody should look."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import grpc
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.notifications.models import Notification
from apps.payments.models import Payment, Refund
from protos.order_pb2 import OrderShipped
from severable.events import feed, reconciler, rpc, status
from severable.events.models import Delivery, RelayPosition, Subscription
from severable.events.store import append
from severable.protos.events_pb2 import Position
from severable.saga.models import Saga
from tests.events.recorded import older, recorded
from tests.machine import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_handler")]

HANDLER = "orders.test"


def deliver(number: int, **fields: Any) -> Delivery:
    return Delivery.objects.create(
        event_id=UUID(int=number), handler=HANDLER, context="orders", stream="s", event={}, **fields
    )


def printed(*options: str) -> str:
    out = StringIO()
    call_command("events", "status", *options, stdout=out)
    return out.getvalue()


def test_the_relay_is_behind_by_what_it_has_not_published() -> None:
    events = recorded(5)
    older(timedelta(seconds=90))
    RelayPosition.objects.create(
        name="relay", transaction_id=events[1].transaction_id, position=events[1].position
    )
    assert status.relays()["relay"].events == 3
    assert 90 <= status.relays()["relay"].seconds < 150
    last = {"transaction_id": events[-1].transaction_id, "position": events[-1].position}
    RelayPosition.objects.update(**last)
    RelayPosition.objects.create(name="another sink")
    assert status.relays()["relay"] == status.Backlog(0, 0)
    assert status.relays()["another sink"].events == 5


def test_a_handler_is_behind_by_the_events_that_it_waits_for() -> None:
    """A figure that counts what others hear, or what has been compared."""
    events = recorded(3)
    with transaction.atomic():
        append(OrderShipped(order_id="o1"), stream="o1")
    eventually(lambda: status.subscriptions()[HANDLER].events == 3)  # type: ignore[union-attr]
    feed.set_position(HANDLER, (events[1].transaction_id, events[1].position))
    assert status.subscriptions()[HANDLER].events == 1  # type: ignore[union-attr]


def test_a_feed_that_is_silent_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A monitor that is content because it could not ask."""

    class Silence(grpc.RpcError):
        def details(self) -> str:
            return "nobody there"

    def silent(*args: Any, **kwargs: Any) -> Any:
        raise Silence

    monkeypatch.setattr(feed, "read", silent)
    assert status.subscriptions() == {HANDLER: None}
    assert "its feed does not respond" in printed()
    with pytest.raises(CommandError, match=f"{HANDLER}: its feed does not respond: nobody there"):
        printed("--check")


def test_what_waits_and_what_is_parked_is_told() -> None:
    now = timezone.now()
    deliver(1, state="waiting", due_at=now + timedelta(minutes=1))
    deliver(2, state="waiting", due_at=now, error="[/not] today", attempts=3)
    deliver(3, state="parked")
    deliver(4, state="done")
    older(timedelta(seconds=10))
    Delivery.objects.filter(event_id=UUID(int=2)).update(received_at=now - timedelta(hours=2))

    found = json.loads(printed("--json"))["deliveries"]
    assert (found["waiting"], found["overdue"], found["parked"]) == (2, 1, {HANDLER: 1})
    assert found["oldest"]["event_id"] == str(UUID(int=2))
    assert found["oldest"]["seconds"] >= 7200
    assert "[/not] today" in re.sub(r"\s+", " ", printed())
    with pytest.raises(CommandError) as problems:
        printed("--check")
    assert f"{HANDLER}: 1 parked" in str(problems.value)
    assert f"{HANDLER}: event {UUID(int=2)} has waited for 72" in str(problems.value)


def test_what_is_behind_is_a_problem_only_beyond_the_limit() -> None:
    recorded(1)
    older(timedelta(seconds=90))
    printed("--check", "--lag", "1000")
    eventually(lambda: status.subscriptions()[HANDLER] != status.Backlog())
    with pytest.raises(CommandError) as problems:
        printed("--check")
    assert [line.partition(" 9")[0] for line in str(problems.value).splitlines()] == [
        "relay is",
        f"{HANDLER} is",
    ]


def test_no_figure_reads_a_whole_table() -> None:
    """A status that takes a minute once there are millions of events and deliveries."""
    recorded(3)
    deliver(1, state="parked")
    with CaptureQueriesContext(connection) as captured:
        status.status()
    asked = [q["sql"] for q in captured if re.search("events_(event|delivery)", q["sql"])]
    assert len(asked) >= 6
    with connection.cursor() as cursor, transaction.atomic():
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in asked:
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {_as_literals(sql)}")
            plan = str(cursor.fetchall())
            assert not re.search(r"Seq Scan on events|SCAN events_\w+'", plan), (sql, plan)


def _as_literals(sql: str) -> str:
    """Django shows SQLite's parameters without quotes."""
    return re.sub(r" = (waiting|parked)\b", r" = '\1'", sql)


def test_a_feed_says_how_far_it_looked(monkeypatch: pytest.MonkeyPatch, no_grace: None) -> None:
    """What a handler does not hear would be read again, each time, for ever."""
    monkeypatch.setattr(reconciler, "BATCH", 5)
    recorded(1)
    *_, last = recorded(8, OrderShipped)
    heard = ["order.OrderCreated"]
    upto = (last.transaction_id, last.position)
    eventually(lambda: feed.read("orders", heard, feed.START)[1] == upto)
    reconciler.reconcile()
    reconciler.reconcile()
    assert Subscription.objects.get().position == last.position


def test_an_older_feed_that_does_not_say_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A context that is deployed later than its listeners."""
    recorded(2)
    monkeypatch.setattr(rpc, "position", lambda event: Position())
    heard = ["order.OrderCreated"]
    eventually(lambda: len(feed.read("orders", heard, feed.START)[0]) == 2)
    found, upto, _ = feed.read("orders", heard, feed.START)
    assert upto == feed.position_of(found[-1])


def test_every_kind_of_job_is_told() -> None:
    """A refund that fails for days, parked mails and stuck sagas were in no status."""
    now = timezone.now()
    order = UUID(int=7)
    payment = Payment.objects.create(order_id=order, user_id=1, amount=5, status="refunding")
    Refund.objects.create(
        payment=payment, attempts=9, error="ValueError: no", due_at=now + timedelta(seconds=50)
    )
    mail = {"user_id": 1, "email": "a@example.com", "kind": "k", "subject": "s", "body": "b"}
    Notification.objects.create(state="parked", **mail)
    Notification.objects.create(state="done", **mail)
    Saga.objects.create(name="place", key=order, due_at=now - timedelta(minutes=5))
    found = json.loads(printed("--json"))["jobs"]
    assert set(found) == {"severable_saga.Saga", "payments.Refund", "notifications.Notification"}
    assert found["payments.Refund"] | {"seconds": 0} == {
        "waiting": 1, "overdue": 0, "failing": 1, "stuck": 1, "parked": 0, "seconds": 0,
    }  # fmt: skip
    assert found["notifications.Notification"]["parked"] == 1
    assert (
        found["severable_saga.Saga"]["overdue"] == 1
        and found["severable_saga.Saga"]["seconds"] >= 300
    )
    with pytest.raises(CommandError) as problems:
        printed("--check")
    assert "payments.Refund: 1 failed 8 times or more" in str(problems.value)
    assert "notifications.Notification: 1 parked" in str(problems.value)
    assert "saga.Saga: 1 due, the oldest for 30" in str(problems.value)
    assert "payments.Refund" in printed()
