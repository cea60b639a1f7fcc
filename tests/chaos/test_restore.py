"""A whole shop is dumped and restored into another PostgreSQL cluster: every order has its mail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from tests.chaos.running import Shop
from tests.postgres import Cluster, cluster, needs_clusters

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.xdist_group("running"),
    pytest.mark.timeout(400),
    needs_clusters,
]

SKU = "CLOCK-OAK"
ORDER = {
    "items": [{"sku": SKU, "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    with cluster() as low, cluster(epoch=5) as high:
        yield {"low": low, "high": high}


@contextmanager
def running(folder: Path, placement: str, server: Cluster, database: str) -> Iterator[Shop]:
    folder.mkdir()
    shop = Shop(folder, placement, environment={"DATABASE_URL": f"{server.url}/{database}"})
    try:
        shop.start()
        yield shop
    finally:
        shop.stop()


def place(shop: Shop, count: int) -> list[str]:
    """Place so many orders, and say which."""
    headers, placed = shop.sign_in("alice"), []
    for _ in range(count):
        status, order = shop.request("POST", "/api/orders", ORDER, **headers)
        assert status in (201, 202), order
        placed.append(order["id"])
    return placed


def mailed(shop: Shop, orders: list[str]) -> Counter[str]:
    """How many mails each of these orders has had."""
    mails = shop.mails("order.OrderPaid")
    return Counter(order for mail in mails for order in orders if order in mail)


def dumps(server: Cluster, prefix: str) -> dict[str, str]:
    """The dump of each of a shop's databases."""
    with psycopg.connect(f"{server.url}/postgres", autocommit=True) as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        return {name: server.dump(name) for (name,) in connection.execute(query, [prefix])}


@pytest.mark.parametrize("placement", ["one", "split"])
@pytest.mark.parametrize(("first", "second"), [("low", "high"), ("high", "low")])
def test_after_a_restore_each_order_has_one_mail_within_thirty_seconds(
    clusters: dict[str, Cluster], tmp_path: Path, first: str, second: str, placement: str
) -> None:
    """Not one of the mails came. In the split the orders are restored to an older state than what
    reads their events."""
    database = f"shop_{placement}_{first}"
    with running(tmp_path / "before", placement, clusters[first], database) as shop:
        shop.fill_the_shelves(SKU)
        old = place(shop, 5)
        shop.eventually(lambda: len(mailed(shop, old)) == 5, within=60)
        older = dumps(clusters[first], database)
        lost = place(shop, 5)
        shop.eventually(lambda: len(mailed(shop, lost)) == 5, within=60)
    dumped = dumps(clusters[first], database)
    orders = f"{database}-orders" if placement == "split" else database
    for name, dump in (dumped | {orders: older[orders]}).items():
        clusters[second].restore(dump, name)

    with running(tmp_path / "after", placement, clusters[second], database) as shop:
        placed = place(shop, 50)
        ended = time.monotonic()
        shop.eventually(lambda: len(mailed(shop, placed)) == 50, within=30)
        print(f"mailed {time.monotonic() - ended:.1f} s after the last order")  # noqa: T201
        for deployment in settings.TOPOLOGY.placements[placement]:
            shop.manage("events", "status", "--check", SHOP_DEPLOYMENT=deployment)
        assert mailed(shop, placed + old + lost) == Counter(dict.fromkeys(placed, 1))
