"""What several tests of events start from."""

from __future__ import annotations

import pytest

from shop.events import handlers


@pytest.fixture
def one_handler(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the only handler there is: it listens to OrderCreated."""
    only = handlers.Handler("orders.test", "orders", "order.OrderCreated", print, ())
    monkeypatch.setattr(handlers, "_handlers", {only.name: only})
    return only.name
