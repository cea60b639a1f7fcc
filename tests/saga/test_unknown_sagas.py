"""A saga that this deployment does not know: removed, renamed, or of a context that moved away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.orders import queries
from apps.orders.models import Order
from severable.jobs import scheduler
from severable.saga.models import Saga

pytestmark = pytest.mark.django_db


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the scheduler has enqueued: (queue, key) of each row."""
    sent: list[Any] = []

    def apply_async(args: tuple[str, str], queue: str, **options: Any) -> None:
        sent.append((queue, args[1]))

    monkeypatch.setattr("severable.jobs.tasks.run.apply_async", apply_async)
    with scheduler.overridden((0, scheduler.enqueue_due_jobs)):
        yield sent


def saga(name: str, *, overdue: timedelta, **changes: Any) -> Saga:
    due_at = timezone.now() - overdue
    return Saga.objects.create(name=name, key=uuid4(), due_at=due_at, **changes)


DAY = timedelta(days=1)


def test_an_unknown_saga_is_parked_and_stops_no_other(
    enqueued: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A traceback at each tick, and nothing that is due later was enqueued any more."""
    unknown = saga("pay_twice", overdue=DAY)
    known = saga("cancel_order", overdue=timedelta(seconds=1))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            scheduler.Scheduler().tick()
    unknown.refresh_from_db()

    assert enqueued == [("orders", str(known.pk))]
    assert (unknown.state, unknown.due_at) == ("parked", None)
    assert "pay_twice" in unknown.error
    about = [record for record in caplog.records if "pay_twice" in record.getMessage()]
    assert [(record.levelname, record.exc_info) for record in about] == [("WARNING", None)]


def test_a_saga_of_the_next_release_is_left_to_its_processes(enqueued: list[Any]) -> None:
    """In a rolling update the scheduler may be older than the saga: it must not park it."""
    new = saga("pay_twice", overdue=timedelta(seconds=30))
    scheduler.enqueue_due_jobs()
    new.refresh_from_db()

    assert (new.state, enqueued) == ("waiting", [])


def test_many_unknown_sagas_hold_up_no_other(
    enqueued: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is full of what cannot be enqueued."""
    monkeypatch.setattr(scheduler, "BATCH", 3)
    for _ in range(4):
        saga("pay_twice", overdue=DAY)
    known = saga("cancel_order", overdue=timedelta(seconds=1))
    for _ in range(2):
        scheduler.enqueue_due_jobs()

    assert enqueued == [("orders", str(known.pk))]


def test_a_broker_that_fails_parks_nothing(
    enqueued: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client library raises, taken for a saga that is unknown."""

    def fail(*args: Any, **options: Any) -> None:
        raise KeyError("no such channel")

    monkeypatch.setattr("severable.jobs.tasks.run.apply_async", fail)
    known = saga("cancel_order", overdue=DAY)
    scheduler.Scheduler().tick()

    assert Saga.objects.get(pk=known.pk).state == "waiting"


def test_a_parked_saga_goes_on_once_it_is_known(enqueued: list[Any]) -> None:
    parked = saga("cancel_order", overdue=DAY, state="parked", data={"order_id": str(uuid4())})
    parked.retry_now()
    scheduler.enqueue_due_jobs()

    assert enqueued == [("orders", str(parked.pk))]


@pytest.mark.parametrize("status", ["running", "compensating"])
def test_an_unknown_saga_is_shown_in_the_story_and_the_admin(
    status: str, admin_client: Client
) -> None:
    """A customer's timeline and the page that shows the parked row were a 500."""
    row = saga("pay_twice", overdue=DAY, status=status)
    order = Order.objects.create(id=row.key, user_id=7)

    assert queries.timeline(order) == []
    page = admin_client.get(reverse("admin:severable_saga_saga_change", args=[row.pk]))
    assert (page.status_code, "pay_twice" in page.content.decode()) == (200, True)
