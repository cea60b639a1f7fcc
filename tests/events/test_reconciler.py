"""The reconciler in a bad hour: a long past, a source that is down. Others must not wait for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from protos.order_pb2 import OrderCreated
from severable.events import feed, handlers, reconciler
from severable.events.envelope import type_of
from severable.events.models import Delivery
from severable.jobs import scheduler
from tests.events.recorded import recorded
from tests.machine import eventually

pytestmark = pytest.mark.django_db(transaction=True)

CREATED = "order.OrderCreated"


def handler_of(type: str) -> handlers.Handler:
    return handlers.Handler(f"orders.{type}", "orders", type, print, ())


@pytest.fixture
def subscribed() -> Iterator[None]:
    """One handler, of OrderCreated."""
    with handlers.overridden(handler_of(CREATED)):
        yield


@pytest.fixture
def heard() -> Iterator[None]:
    """A handler for each of three sources."""
    types = ("inventory.StockReserved", CREATED, "user.UserRegistered")
    with handlers.overridden(*map(handler_of, types)):
        yield


def visible(count: int) -> None:
    eventually(lambda: len(feed.read("orders", [CREATED], feed.START)[0]) == count)


def test_a_long_past_is_compared_in_slices(
    subscribed: None, monkeypatch: pytest.MonkeyPatch, no_grace: None
) -> None:
    """Regression: one call compared everything, and lease and due rows waited for its end."""
    monkeypatch.setattr(reconciler, "BATCH", 3)
    monkeypatch.setattr(reconciler, "SLICE", 0.0)
    recorded(8)
    visible(8)
    found = []
    while reconciler.reconcile():
        found.append(Delivery.objects.count())
    assert found == [3, 6]
    assert Delivery.objects.count() == 8


def test_while_the_past_is_compared_the_clock_calls_the_others(
    subscribed: None, monkeypatch: pytest.MonkeyPatch, no_grace: None
) -> None:
    """Regression: 200,000 events kept the scheduler for 345 s, and due rows were not enqueued."""
    monkeypatch.setattr(reconciler, "BATCH", 3)
    recorded(30)
    visible(30)
    seen: list[int] = []
    periodic = [
        (0.0, reconciler.reconcile),
        (0.0, lambda: seen.append(Delivery.objects.count())),
    ]
    with scheduler.overridden(*periodic):
        ticking = scheduler.Scheduler()
        while Delivery.objects.count() < 30:
            assert ticking.tick()
    assert seen == sorted(set(seen)) and len(seen) >= 9


def test_the_statements_of_a_page_do_not_grow_with_its_events(
    subscribed: None, no_grace: None
) -> None:
    """A row by row comparison of a long past takes minutes."""
    recorded(400)
    visible(400)
    with CaptureQueriesContext(connection) as captured:
        reconciler.reconcile()
    assert Delivery.objects.count() == 400
    # SQLite takes some sixty rows in one INSERT.
    assert len(captured) <= 24, [query["sql"][:100] for query in captured]


def test_a_source_that_is_down_keeps_no_other_from_being_compared(
    heard: None, monkeypatch: pytest.MonkeyPatch, no_grace: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: its error ended the comparison of all that come after it, and was a traceback
    each second."""
    caplog.set_level(logging.INFO, "severable.events.reconciler")
    read, down = feed.read, {"inventory", "users"}

    def partly_down(source: str, *args: Any, **kwargs: Any) -> Any:
        if source == "users" and source in down:
            raise ZeroDivisionError("not only what is expected")
        if source in down:
            raise grpc.RpcError("nobody there")
        return read(source, *args, **kwargs)

    monkeypatch.setattr(feed, "read", partly_down)
    recorded(2)
    visible(2)
    for _ in range(3):
        reconciler.reconcile()
    assert Delivery.objects.filter(type=type_of(OrderCreated)).count() == 2
    assert said(caplog, logging.WARNING) == ["the feed of inventory does not respond: nobody there"]
    assert said(caplog, logging.ERROR) == ["the feed of users cannot be compared"]
    down.clear()
    for _ in range(3):
        reconciler.reconcile()
    assert said(caplog, logging.INFO) == [
        "the feed of inventory is compared again",
        "the feed of users is compared again",
    ]


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return sorted(
        record.getMessage()
        for record in caplog.records
        if record.levelno == level and "lost" not in record.getMessage()
    )
