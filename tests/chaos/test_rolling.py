"""Every process is told to end, one after the other, under load: no caller notices."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
from django.conf import settings
from urllib3.exceptions import NewConnectionError, ProtocolError

from tests.chaos.running import Shop

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("running"), pytest.mark.timeout(600)]

ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SKU = "CLOCK-OAK"
ORDER = {"items": [{"sku": SKU, "quantity": 1}], "payment": {"method": "card", "token": "tok_visa"}}
CUSTOMERS = 2
THINK = 0.2  # seconds before each request
SETTLED = 1.0  # seconds that a new replica has before the next goes, as Kubernetes' minReadySeconds


class Customer:
    """Goes through the shop again and again, by a connection to each gateway."""

    def __init__(self, gateways: list[str], headers: dict[str, str], repeatable: bool) -> None:
        self._gateways = [urllib3.connection_from_url(f"http://{g}") for g in gateways]
        self._headers = headers
        self._repeatable = repeatable  # whether orders carry an Idempotency-Key
        self.placed: list[str] = []
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    def shop_until(self, closed: threading.Event) -> None:
        while not closed.is_set():
            self._go_once_through()

    def _go_once_through(self) -> None:
        self._ask("GET", f"/api/inventory/products/{SKU}")
        self._ask("GET", "/api/users/me")
        key = {"Idempotency-Key": str(uuid4())} if self._repeatable else {}
        order = self._ask("POST", "/api/orders", ORDER, **key)
        if order:
            self.placed.append(order["id"])
            self._ask("GET", f"/api/orders/{order['id']}")
            summary = self._ask("GET", f"/api/orders/{order['id']}/summary")
            if summary and summary["missing"]:
                self.failures.append(f"summary without {summary['missing']}")

    def _ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        time.sleep(THINK)
        for gateway in self._gateways:
            try:
                answer = gateway.request(
                    method,
                    path,
                    body=None if body is None else json.dumps(body),
                    headers=self._headers | {"Content-Type": "application/json"} | headers,
                    timeout=30,
                    retries=False,
                )
            except NewConnectionError:
                continue
            except ProtocolError as error:
                if method == "GET" or headers:
                    continue
                return self._failed(method, path, str(error))
            if answer.status >= 400:
                return self._failed(method, path, f"{answer.status} {answer.data!r}")
            self.answers[f"{method} {answer.status}"] += 1
            return answer.json()
        return self._failed(method, path, "no gateway answers")

    def _failed(self, method: str, path: str, why: str) -> None:
        self.failures.append(f"{time.time():.2f} {method} {path}: {why}")


@pytest.mark.parametrize("channel", ["grpc", "rest"])
def test_a_rolling_restart_is_not_noticed(tmp_path: Path, channel: str) -> None:
    """No idempotent request fails, nothing is lost, and nothing happens twice."""
    shop = Shop(tmp_path, "split", channel, replicas=2)
    try:
        shop.start()
        shop.eventually(
            lambda: all(answers(a) for d in shop.addresses.values() for a in d), within=60
        )
        go_shopping(shop)
    finally:
        shop.close()


def go_shopping(shop: Shop) -> None:
    alice, bob = shop.sign_in("alice"), shop.sign_in("bob")
    shop.fill_the_shelves(SKU)
    stock = available(shop)
    gateways = shop.addresses["gateway"]
    customers = [Customer(gateways, alice, True) for _ in range(CUSTOMERS)]
    careless = Customer(gateways, bob, False)
    closed = threading.Event()
    threads = [
        threading.Thread(target=c.shop_until, args=(closed,)) for c in (*customers, careless)
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        ended = roll(shop)
    finally:
        closed.set()
        for thread in threads:
            thread.join()
    took = time.monotonic() - began

    answered = sum((c.answers for c in customers), Counter[str]())
    failures = [failure for c in customers for failure in c.failures]
    print(  # noqa: T201
        f"\n{ended} processes ended in {took:.0f} s; answers {dict(answered)}; failed {failures}; "
        f"without a key {dict(careless.answers)}, failed {careless.failures}"
    )
    assert failures == []
    placed = [order for c in customers for order in c.placed]
    check(shop, placed, careless, stock)


def roll(shop: Shop) -> int:
    """Tell every process to end, one after the other; the next when its successor is ready."""
    ended = 0
    for deployment, addresses in shop.addresses.items():
        for address in addresses:
            end(shop, deployment, address.rpartition(":")[2])
            shop.eventually(lambda a=address: answers(a), within=60)  # type: ignore[misc]
            time.sleep(SETTLED)
            ended += 1
        if settings.TOPOLOGY.placements["split"][deployment].queues:
            end(shop, deployment, "worker")
            end(shop, deployment, "relay")
            ended += 2
    return ended


def end(shop: Shop, deployment: str, sign: str) -> None:
    """SIGTERM, and wait until another process has taken its place."""
    pid = shop.process(deployment, sign)
    assert pid
    os.kill(pid, signal.SIGTERM)
    shop.eventually(lambda: shop.process(deployment, sign) not in (None, pid), within=30)


def answers(address: str) -> bool:
    try:
        url = f"http://{address}/health/ready"
        return urllib3.request("GET", url, retries=False).status == HTTPStatus.OK
    except urllib3.exceptions.HTTPError:
        return False


def available(shop: Shop) -> int:
    return int(shop.request("GET", f"/api/inventory/products/{SKU}")[1]["available"])


def check(shop: Shop, placed: list[str], careless: Customer, stock: int) -> None:
    """Every order is paid, and all that belongs to it is there once."""
    assert len(set(placed)) == len(placed)
    shop.eventually(lambda: set(orders(shop, "alice").values()) == {"paid"}, within=60)
    shop.eventually(lambda: set(orders(shop, "bob").values()) == {"paid"}, within=60)
    known, bobs = set(orders(shop, "alice")), set(orders(shop, "bob"))
    assert known == set(placed)
    # Whoever sends no key cannot know whether what failed was done; but nothing was done twice.
    assert set(careless.placed) <= bobs
    assert len(bobs) <= len(careless.placed) + len(careless.failures)

    paid = len(known | bobs)
    shop.eventually(lambda: available(shop) == stock - paid, within=120)
    held = f"Product.objects.get(sku={SKU!r}).held"
    shop.eventually(lambda: query(shop, "inventory", held) == "0", within=120)
    by_order = "Payment.objects.filter(status='paid').values('order_id').distinct().count()"
    assert query(shop, "payments", by_order) == str(paid)
    assert query(shop, "payments", "TestCharge.objects.filter(state='charged').count()") == str(
        paid
    )
    assert query(shop, "payments", "sum(e.amount for e in LedgerEntry.objects.all())") == "0"

    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) >= paid, within=120)
    mails = "\n".join(shop.mails("order.OrderPaid"))
    told = Counter(re.findall(ID, mails))
    assert {told[order] for order in known | bobs} == {1}
    print(f"{paid} orders paid, charged, sold and mailed once each")  # noqa: T201


def orders(shop: Shop, username: str) -> dict[str, str]:
    """The status of each of a customer's orders."""
    headers, found = shop.sign_in(username), {}
    path = "/api/orders?page_size=100"
    while path:
        _, page = shop.request("GET", path, **headers)
        found |= {order["id"]: order["status"] for order in page["results"]}
        path = (page["next"] or "").removeprefix(shop.url)
    return found


def query(shop: Shop, deployment: str, expression: str) -> str:
    """What an expression says about a deployment's models."""
    code = f"from apps.{deployment}.models import *; print({expression})"
    return shop.manage("shell", "-v", "0", "-c", code, SHOP_DEPLOYMENT=deployment).strip()
