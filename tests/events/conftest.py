"""What several tests of events start from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from severable.events import handlers, reconciler
from severable.jobs.outages import Outages


@pytest.fixture
def one_handler() -> Iterator[str]:
    """The name of the only handler there is: it listens to OrderCreated."""
    only = handlers.Handler("orders.test", "orders", "order.OrderCreated", print, ())
    with handlers.overridden(only):
        yield only.name


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has not arrived counts as lost."""
    monkeypatch.setattr(reconciler, "GRACE", timedelta(0))
    monkeypatch.setattr(reconciler, "OVERTAKEN", 0.0)
    monkeypatch.setattr(reconciler, "STALLED", 0.0)


@pytest.fixture(autouse=True)
def nothing_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the handlers of other tests, whose database was another one."""
    monkeypatch.setattr(reconciler, "_arrivals", {})
    monkeypatch.setattr(reconciler, "_compared_at", {})
    monkeypatch.setattr(reconciler, "outages", Outages(reconciler.log))
