"""A whole shop beside a Kafka that is away, and comes back.

On servers; tests/events/test_kafka.py has the sink alone before a Kafka that is frozen.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.running import ON_SERVERS, Shop
from tests.events.cluster import Cluster, cluster, event

ORDER = {
    "items": [{"sku": "MUG-OAK", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Before the shop, which reads the address when it starts."""
    with cluster() as running:
        running.freeze()
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", running.address)
        yield running


@ON_SERVERS
def test_a_shop_whose_kafka_is_away_goes_on_and_tells_it_all_later(
    frozen: Cluster, shop: Shop
) -> None:
    """Neither broker nor clock may wait for it, and it may miss nothing."""
    status, order = shop.request("POST", "/api/orders", ORDER, **shop.sign_in("alice"))
    assert status == 201
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) == 1, within=30)
    frozen.thaw()
    expected = {"order.OrderCreated", "order.OrderPaid"}

    def arrived() -> bool:
        events = [event(message) for message in frozen.read(1)]
        return expected <= {e["type"] for e in events if e["subject"] == f"order-{order['id']}"}

    shop.eventually(arrived, within=60)
