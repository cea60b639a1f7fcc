"""Processes of a running shop are killed in the middle of its work: nothing accepted is lost."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.running import Shop

ORDERS = 200
BODIES = [
    {"items": [{"sku": "CLOCK-OAK", "quantity": 1}], "payment": {"method": "card", "token": token}}
    for token in ("tok_visa", "tok_visa", "tok_declined", "tok_unknown")
]

pytestmark = [pytest.mark.xdist_group("running"), pytest.mark.timeout(400)]


def place(shop: Shop, count: int, first: int = 0) -> dict[str, str]:
    """Place asynchronous orders. Says which token each was placed with."""
    headers = shop.sign_in("alice") | {"Prefer": "respond-async"}
    placed = {}
    for number in range(first, first + count):
        body = BODIES[number % len(BODIES)]
        key = {"Idempotency-Key": f"order-{number}"}
        status, order = shop.request("POST", "/api/orders", body, **headers, **key)
        assert status == 202, order
        placed[order["id"]] = body["payment"]["token"]
    return placed


def outcomes(shop: Shop) -> dict[str, str]:
    """The status of each of alice's orders."""
    headers, found = shop.sign_in("alice"), {}
    path = "/api/orders?page_size=100"
    while path:
        _, page = shop.request("GET", path, **headers)
        found |= {order["id"]: order["status"] for order in page["results"]}
        path = (page["next"] or "").removeprefix(shop.url)
    return found


def decided(shop: Shop) -> int:
    return sum(status != "pending" for status in outcomes(shop).values())


def test_killed_workers_and_relays_lose_no_order_and_mail_each_once(shop: Shop) -> None:
    chance = random.Random(7)
    placed: dict[str, str] = {}
    for first in range(0, ORDERS, 50):
        placed |= place(shop, 50, first)
        shop.kill(chance.choice(["worker", "relay"]))
    while (before := decided(shop)) < ORDERS:
        shop.kill(chance.choice(["worker", "relay"]))
        goal = min(before + 25, ORDERS)
        shop.eventually(lambda goal=goal: decided(shop) >= goal, within=120)  # type: ignore[misc]

    found = outcomes(shop)
    assert found == {
        order: "rejected" if token == "tok_declined" else "paid" for order, token in placed.items()
    }
    paid = [order for order, status in found.items() if status == "paid"]
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) >= len(paid), within=120)
    mails = shop.mails("order.OrderPaid")
    told = Counter(order for mail in mails for order in paid if order in mail)
    assert told == Counter(dict.fromkeys(paid, 1))


def test_a_wiped_broker_loses_nothing(shop: Shop) -> None:
    placed = place(shop, 20)
    shop.wipe_broker()
    placed |= place(shop, 20, 20)

    shop.eventually(lambda: "pending" not in outcomes(shop).values(), within=60)
    paid = [order for order, status in outcomes(shop).items() if status == "paid"]
    assert len(outcomes(shop)) == len(placed)
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) == len(paid), within=60)
