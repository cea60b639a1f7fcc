"""The numbers of transactions: one run of a server begins above all that any other has given."""

from __future__ import annotations

import threading
from io import StringIO

import grpc
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from rest_framework.test import APIClient

from protos.order_pb2 import OrderCreated
from severable.events import feed, status, transactions
from severable.events.models import Event, RelayPosition, TransactionOffset
from severable.events.store import append
from tests.events.recorded import recorded
from tests.machine import eventually
from tests.threads import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_handler")]

HEARD = ["order.OrderCreated"]
snapshots = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has one writer at a time"
)


def appended(stream: str) -> Event:
    with transaction.atomic():
        return append(OrderCreated(order_id=stream), stream=stream)


def place(event: Event) -> feed.Position:
    return event.transaction_id, event.position


@snapshots
def test_the_first_appends_of_a_run_agree_on_its_offset() -> None:
    """Two offsets at a time: what one gives is hidden by what the other has given."""
    before = appended("before")
    TransactionOffset.objects.update(server="another run", value=-(10**9))

    def write(number: int) -> None:
        for count in range(5):
            appended(f"s{number}-{count}")

    together(8, write)
    assert TransactionOffset.objects.count() == 1
    found: list[str] = []

    def all_read() -> bool:
        found[:] = [e.subject for e in feed.read("orders", HEARD, place(before)).events]
        return len(found) >= 40

    eventually(all_read)
    assert len(set(found)) == len(found) == 40


@snapshots
def test_an_append_that_rolls_back_leaves_the_offset() -> None:
    """Others would wait for a transaction that may be long, or deadlock with it."""
    appended("before")
    TransactionOffset.objects.update(server="another run")
    with transaction.atomic():
        append(OrderCreated(), stream="rolled back")
        together(1, lambda _: appended("another"))
        transaction.set_rollback(True)
    assert Event.objects.filter(stream="another").exists()
    assert TransactionOffset.objects.get().server != "another run"


@snapshots
def test_renumbering_waits_for_those_who_are_appending() -> None:
    """A lower number that commits after a higher one was read is never read."""
    renumbering = threading.Thread(target=_renumber)
    with transaction.atomic():
        slow = append(OrderCreated(), stream="slow")
        renumbering.start()
        renumbering.join(0.5)
        assert renumbering.is_alive()
    renumbering.join()
    assert place(appended("quick")) > place(slow)


def _renumber() -> None:
    try:
        transactions.renumber()
    finally:
        connection.close()


def test_numbers_lie_above_all_events_that_came_with_a_context() -> None:
    """Events that were moved here may have higher numbers than this database has given."""
    moved = appended("moved")
    ahead = transactions.upcoming() + 60_000_000
    Event.objects.filter(pk=moved.pk).update(transaction_id=ahead)
    transactions.renumber()
    assert place(appended("here")) > (ahead, moved.position)


def test_a_position_that_was_never_given_is_an_error_and_not_the_end() -> None:
    """A reader that is ahead hears of nothing, and calls that being up to date."""
    appended("one")
    ahead = transactions.upcoming() + 10**12
    feed.set_position("orders.test", (ahead, 1))
    with pytest.raises(
        grpc.RpcError, match="was not assigned by this database of orders"
    ) as raised:
        feed.read("orders", HEARD, (ahead, 1))
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match=r"orders.test: .* `manage.py events renumber` there"):
        call_command("events", "status", "--check", stdout=StringIO())


def test_a_relay_that_is_ahead_is_not_ready_and_renumbering_helps(client: APIClient) -> None:
    appended("one")
    ahead = transactions.upcoming() + 10**6
    RelayPosition.objects.create(name="relay", transaction_id=ahead)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "relay; check that the database's clock" in answer.json()["checks"]["database"]
    with pytest.raises(CommandError, match="relay: its position was not assigned"):
        call_command("events", "status", "--check", stdout=StringIO())

    def helped() -> bool:  # within the second that the clock is behind
        call_command("events", "renumber", stdout=StringIO())
        return not status.ahead()

    eventually(helped, within=10)
    assert client.get("/health/ready").status_code == 200
    assert place(appended("two")) > (ahead, 0)


def test_a_page_is_found_by_the_index() -> None:
    """A reader that is up to date must not read the table from its start."""
    events = recorded(50)
    with connection.cursor() as cursor, transaction.atomic():
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Event.objects.committed_after(*place(events[-1]))[:10].explain()
    found = {
        "postgresql": 'Index Cond: ((ROW(transaction_id, "position") > ',
        "sqlite": "USING INDEX events_event_commit_order (transaction_id>?",
    }
    assert found[connection.vendor] in plan
