"""Processes of a running shop are killed in the middle of its work: nothing accepted is lost."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

import pytest

from tests.chaos.running import Shop

ORDERS = 60
SKU = "CLOCK-OAK"
BODIES: list[dict[str, Any]] = [
    {"items": [{"sku": SKU, "quantity": 1}], "payment": {"method": "card", "token": token}}
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


class Customers:
    """Place orders all the time, and insist on an answer to each."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._headers = shop, shop.sign_in("alice")
        self.placed: dict[str, str] = {}
        self.wrong: list[object] = []
        self._stop = threading.Event()

    @contextmanager
    def ordering(self, threads: int) -> Iterator[None]:
        running = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in running:
                thread.join()

    def _run(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            self._place(BODIES[number % len(BODIES)], f"{thread}-{number}", number)
            number += 1
            self._stop.wait(0.5)  # two cores that start killed processes do not keep up with more

    def _place(self, body: dict[str, Any], key: str, number: int) -> None:
        headers = self._headers | {"Idempotency-Key": key}
        if number % 2:
            headers["Prefer"] = "respond-async"
        while True:
            try:
                status, answer = self._shop.request("POST", "/api/orders", body, **headers)
            except (URLError, HTTPException, ConnectionError):
                time.sleep(0.2)  # nobody is there, or not any more
                continue
            if status in (409, 503) and answer["code"] in ("in_flight", "unavailable"):
                time.sleep(0.2)  # whoever worked on it was killed, and its key is locked still
                continue
            break
        if status in (201, 202, 402):
            self.placed[answer.get("order_id") or answer["id"]] = body["payment"]["token"]
        else:
            self.wrong.append((status, answer))


def outcomes(shop: Shop) -> dict[str, str]:
    """The status of each of alice's orders."""
    headers, found = shop.sign_in("alice"), {}
    path = "/api/orders?page_size=100"
    while path:
        _, page = shop.request("GET", path, **headers)
        found |= {order["id"]: order["status"] for order in page["results"]}
        path = (page["next"] or "").removeprefix(shop.url)
    return found


def stock(shop: Shop) -> int:
    _, product = shop.request("GET", f"/api/inventory/products/{SKU}")
    return int(product["available"])


def decided(shop: Shop) -> int:
    return sum(status != "pending" for status in outcomes(shop).values())


def test_killed_workers_and_relays_lose_no_order_and_mail_each_once(shop: Shop) -> None:
    chance = random.Random(7)
    placed: dict[str, str] = {}
    for first in range(0, ORDERS, 30):
        placed |= place(shop, 30, first)
        shop.kill(chance.choice(["worker", "relay"]))
    while (before := decided(shop)) < ORDERS:
        shop.kill(chance.choice(["worker", "relay"]))
        goal = min(before + 20, ORDERS)
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


@pytest.mark.chaos
def test_a_minute_in_which_everything_is_killed_loses_nothing(shop: Shop) -> None:
    """Web processes too: an order that was half placed is placed once, under its key."""
    shop.fill_the_shelves(SKU)
    chance, kills = random.Random(11), Counter[str]()
    customers, before = Customers(shop), stock(shop)
    ends = time.monotonic() + 60
    with customers.ordering(threads=3):
        while time.monotonic() < ends:
            time.sleep(chance.uniform(1, 3))
            name = chance.choice(["web", "worker", "relay"])
            kills[name] += shop.kill(name)
    assert kills.total() >= 20, kills
    assert not customers.wrong

    ended = time.monotonic()
    shop.eventually(lambda: "pending" not in outcomes(shop).values(), within=30)
    took = time.monotonic() - ended
    print(f"{len(customers.placed)} orders, {kills}; decided {took:.1f} s later")  # noqa: T201
    assert outcomes(shop) == {
        order: "rejected" if token == "tok_declined" else "paid"
        for order, token in customers.placed.items()
    }
    paid = [order for order, token in customers.placed.items() if token != "tok_declined"]
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) >= len(paid), within=30)
    assert stock(shop) == before - len(paid)


def test_a_wiped_broker_loses_nothing(shop: Shop) -> None:
    placed = place(shop, 20)
    shop.wipe_broker()
    placed |= place(shop, 20, 20)

    shop.eventually(lambda: "pending" not in outcomes(shop).values(), within=60)
    paid = [order for order, status in outcomes(shop).items() if status == "paid"]
    assert len(outcomes(shop)) == len(placed)
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) == len(paid), within=60)
