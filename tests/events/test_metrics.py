"""`/metrics`: how events get on, for whoever may know."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from django.db import DatabaseError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from apps.notifications.models import Notification
from severable.events import feed, reconciler, status
from severable.events.models import Delivery, Event
from tests.events.recorded import older, recorded
from tests.machine import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_handler")]

HANDLER = "orders.test"


def scraped(**headers: str) -> dict[tuple[str, str], float]:
    """Every figure, by its name and its relay's or handler's."""
    answer = Client(headers=headers).get("/metrics")
    assert answer.status_code == 200, answer.content
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def missed() -> float:
    return scraped().get(("shop_events_missed_total", HANDLER), 0)


def test_lag_is_a_metric() -> None:
    recorded(3)
    older(timedelta(seconds=90))
    eventually(lambda: scraped()["shop_events_uncompared", HANDLER] == 3)
    found = scraped()
    for what in ("unpublished", "relay"), ("uncompared", HANDLER):
        assert found[f"shop_events_{what[0]}", what[1]] == 3
        assert 90 <= found[f"shop_events_{what[0]}_seconds", what[1]] < 150
    assert found["shop_events_feed_up", HANDLER] == 1


def test_what_the_broker_lost_is_counted(no_grace: None) -> None:
    """A broker that loses one message in ten, and nobody knows: the reconciler mends it."""
    (first, *_) = recorded(3)
    older(timedelta(seconds=10))
    Delivery.objects.create(
        event_id=first.id, handler=HANDLER, context="orders", stream="s", event={}, state="done"
    )
    eventually(lambda: reconciler.reconcile() or missed() == 2)
    recorded(1)
    older(timedelta(seconds=10))
    eventually(lambda: reconciler.reconcile() or missed() == 3)


def test_parked_deliveries_are_seen() -> None:
    Delivery.objects.create(
        event_id=Event().id, handler=HANDLER, context="orders", stream="s", event={}, state="parked"
    )
    found = scraped()
    assert found["shop_deliveries_parked", HANDLER] == 1
    assert found["shop_deliveries_waiting", ""] == 0


def test_parked_jobs_are_seen() -> None:
    """Parked mails were in no metric."""
    mail = {"user_id": 1, "email": "a@example.com", "kind": "k", "subject": "s", "body": "b"}
    Notification.objects.create(state="parked", **mail)
    found = scraped()
    assert found["shop_jobs_parked", "notifications.Notification"] == 1
    assert found["shop_jobs_waiting", "severable_saga.Saga"] == 0


def test_a_silent_feed_is_a_figure_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead peer would take the metrics of all others with it."""

    class Silence(grpc.RpcError):
        def details(self) -> str:
            return "nobody there"

    def silent(*args: Any) -> Any:
        raise Silence

    monkeypatch.setattr(feed, "read", silent)
    assert scraped()["shop_events_feed_up", HANDLER] == 0


def test_without_a_database_scraping_fails_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> Any:
        raise DatabaseError("server closed the connection; password=secret")

    monkeypatch.setattr(status, "status", down)
    answer = Client().get("/metrics")
    assert answer.status_code == 503
    assert b"secret" not in answer.content


@pytest.mark.parametrize("token", ["", "s3cret"])
def test_outside_development_only_the_token_opens_it(settings: Any, token: str) -> None:
    """Names of handlers, versions and load would be public."""
    settings.DEVELOPMENT, settings.METRICS_TOKEN = False, token
    for shown in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wröng"}):
        assert Client(headers=shown).get("/metrics").status_code == 401
    if token:
        assert scraped(Authorization=f"Bearer {token}")
