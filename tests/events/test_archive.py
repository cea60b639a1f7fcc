"""Retention: what is old goes to a file, nothing is lost on the way, and nothing happens again."""

from __future__ import annotations

import fcntl
import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F, QuerySet

from protos.order_pb2 import OrderCreated, OrderPaid, OrderShipped
from severable.contrib import archive
from severable.events import delivery, feed, handlers, reconciler, replay
from severable.events.envelope import to_json
from severable.events.models import Delivery, Event, RelayPosition
from severable.events.store import append, envelope
from severable.jobs.models import Lease
from tests.machine import deliver_events, eventually

pytestmark = pytest.mark.django_db(transaction=True)

HANDLER = "orders.test"


@pytest.fixture(autouse=True)
def handler() -> Iterator[handlers.Handler]:
    def note(event: OrderCreated) -> None:
        Lease.objects.create(name=event.order_id, expires_at=Event.objects.first().recorded_at)  # type: ignore[union-attr]

    only = handlers.Handler(HANDLER, "orders", "order.OrderCreated", note, (), replay=True)
    with handlers.overridden(only):
        yield only


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "events.jsonl.gz"


def recorded(*orders: str) -> list[Event]:
    """For each order three events: created, paid and shipped."""
    made = []
    for order in orders:
        for message in (OrderCreated, OrderPaid, OrderShipped):
            with transaction.atomic():
                made.append(append(message(order_id=order), stream=f"order-{order}"))
    eventually(lambda: Event.objects.committed_after(0, 0).count() == Event.objects.count())
    return made


def grown_old(days: int = 100) -> None:
    """All of it is published, delivered, compared, and so many days old."""
    last = Event.objects.order_by("transaction_id", "position").last()
    assert last
    RelayPosition.objects.update_or_create(
        name="relay",
        defaults={"transaction_id": last.transaction_id, "position": last.position},
    )
    deliver_events()
    feed.set_position(HANDLER, (last.transaction_id, last.position))
    by = timedelta(days=days)
    Event.objects.update(recorded_at=F("recorded_at") - by)
    Delivery.objects.update(received_at=F("received_at") - by, done_at=F("done_at") - by)


def archived(file: Path | None, before: str = "90d", *options: str) -> str:
    out = StringIO()
    to = ("--to", str(file)) if file else ()
    call_command("events", "archive", "--before", before, *to, *options, stdout=out)
    return out.getvalue()


def lines(file: Path) -> list[Any]:
    with gzip.open(file, "rt") as text:
        return [json.loads(line) for line in text]


def kept() -> list[tuple[str, int]]:
    return list(Event.objects.order_by("position").values_list("stream", "version"))


def test_old_events_go_to_the_file_and_the_last_of_each_stream_stays(file: Path) -> None:
    events = recorded("a", "b")
    grown_old()
    recorded("c")
    assert "4 events from before" in archived(file)
    assert kept() == [("order-a", 3), ("order-b", 3)] + [("order-c", n) for n in (1, 2, 3)]
    first, *others = lines(file)
    assert [line["subject"] for line in others] == ["order-a", "order-b", "order-b"]
    assert first["id"] == str(events[0].id)
    assert first["data"]["order_id"] == "a"
    assert (
        first | {"specversion": "1.0", "type": "order.OrderCreated", "sequence": "0000000001"}
        == first
    )
    assert all(isinstance(value, str | int) for name, value in first.items() if name != "data")


def test_versions_go_on(file: Path) -> None:
    """A stream that begins again at 1: handlers in order would take the new for the old."""
    recorded("a")
    grown_old()
    archived(file)
    with transaction.atomic():
        assert append(OrderPaid(order_id="a"), stream="order-a").version == 4


@pytest.mark.parametrize("why", ["waiting", "parked", "unpublished", "unread", "replayed"])
def test_what_is_not_settled_stays(file: Path, handler: handlers.Handler, why: str) -> None:
    events = recorded("a", "b")
    grown_old()
    at = {"transaction_id": events[3].transaction_id, "position": events[3].position - 1}
    if why in ("waiting", "parked"):
        Delivery.objects.filter(event_id=events[3].id).update(state=why)
    elif why == "unpublished":
        RelayPosition.objects.create(name="another sink", **at)
    elif why == "unread":
        feed.set_position(HANDLER, (at["transaction_id"], at["position"]))
    else:
        replay.begin(handler, (at["transaction_id"], at["position"]))
    archived(file)
    assert ("order-b", 1) in kept()
    assert ("order-a", 1) not in kept()


def test_deliveries_go_once_they_are_settled_and_compared() -> None:
    events = recorded(*"abcde")
    grown_old()
    state = Delivery.objects.filter(event_id=events[0].id)
    state.update(state="parked")
    Delivery.objects.filter(event_id=events[3].id).update(state="waiting")
    Delivery.objects.filter(event_id=events[6].id).update(done_at=None)  # discarded
    feed.set_position(HANDLER, (events[9].transaction_id, events[9].position))
    assert "2 deliveries from before" in archived(None)
    left = Delivery.objects.values_list("event_id", flat=True)
    assert set(left) == {events[0].id, events[3].id, events[12].id}
    assert Event.objects.count() == 15


def test_an_event_that_comes_again_after_that_has_no_second_effect(
    file: Path, handler: handlers.Handler, no_grace: None
) -> None:
    """A message that lay in the broker, or a relay that was set back, after a year."""
    first, *_ = recorded("a", "b")
    grown_old()
    message = to_json(envelope(Event.objects.get(id=first.id)))
    archived(None)
    assert not Delivery.objects.exists()
    delivery.deliver.apply(([message],), headers={"queue": "orders"})
    reconciler.reconcile()
    assert not Delivery.objects.exists()
    assert Lease.objects.count() == 2
    feed.set_position(HANDLER, feed.START)  # but what is late for the first time is welcome
    Lease.objects.all().delete()
    delivery.deliver.apply(([message],), headers={"queue": "orders"})
    assert Lease.objects.count() == 1


def test_killed_before_the_removal_nothing_is_lost(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "BATCH", 4)
    recorded("a", "b", "c")
    events = list(Event.objects.all())
    grown_old()
    real = QuerySet.delete

    def die(self: QuerySet[Any]) -> Any:
        if self.model is Event and len(lines(file)) > 3:
            raise ConnectionResetError("killed")
        return real(self)

    with monkeypatch.context() as killed, pytest.raises(CommandError, match="killed"):
        killed.setattr(QuerySet, "delete", die)
        archived(file)
    archived(file)
    ids = [line["id"] for line in lines(file)]
    gone = {str(event.id) for event in events if event.version < 3}
    assert set(ids) == gone
    assert 0 < len(ids) - len(gone) <= archive.BATCH


def test_killed_while_writing_the_file_stays_whole(file: Path) -> None:
    """A member that was written half makes all that comes after it unreadable."""
    recorded("a")
    grown_old()
    archived(file)
    whole = file.read_bytes()
    file.write_bytes(whole + gzip.compress(b"half" * 1000)[:-9])
    recorded("b")
    grown_old()
    archived(file)
    assert file.read_bytes().startswith(whole)
    assert [line["subject"] for line in lines(file)] == ["order-a"] * 2 + ["order-b"] * 2


def test_a_file_that_is_no_archive_is_left_alone(file: Path) -> None:
    recorded("a")
    grown_old()
    file.parent.mkdir()
    file.write_text("my diary")
    with pytest.raises(CommandError, match="is not an archive"):
        archived(file)
    assert file.read_text() == "my diary"
    assert Event.objects.count() == 3


def test_two_runs_do_not_write_one_file(file: Path) -> None:
    """One would cut off what the other is writing, and that one remove it."""
    recorded("a")
    grown_old()
    archived(file)
    with file.open("ab") as other, pytest.raises(CommandError, match="another run"):
        fcntl.flock(other, fcntl.LOCK_EX)
        archived(file)


@pytest.mark.parametrize(
    ("before", "complaint"),
    [("3d", "less than 7 days ago"), ("soon", "--before is 'soon'")],
)
def test_a_time_that_makes_no_sense_is_named(before: str, complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        archived(None, before)


def test_what_is_young_goes_only_by_force(file: Path) -> None:
    recorded("a")
    grown_old(days=5)
    with pytest.raises(CommandError, match="--force"):
        archived(file, "3d")
    assert Event.objects.count() == 3
    archived(file, "3d", "--force")
    assert Event.objects.count() == 1
    assert UUID(lines(file)[0]["id"])
