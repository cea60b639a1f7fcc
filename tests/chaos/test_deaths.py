"""Every process of a shop dies again and again, each time at another point of its work: around
commits, calls, answers, publishes and acknowledgments."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from uuid import uuid4

import pytest

from apps.inventory.models import Product
from apps.notifications.models import Notification
from apps.orders.models import Order, OrderLine
from apps.payments.models import LedgerEntry, Payment, TestCharge
from apps.users.models import User
from severable.events.models import Event
from tests.chaos.running import Shop
from tests.differential import state

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SECONDS = 90
SKU = "MUG-OAK"
KEPT, GIVEN_BACK = ("paid", "shipped"), ("rejected", "cancelled")
PAYMENTS = (
    {"method": "card", "token": "tok_visa"},
    {"method": "credit"},
    {"method": "card", "token": "tok_declined"},
    {"method": "card", "token": "tok_unknown"},
)


class People:
    """Customers who order and cancel, and staff who ship and refund; each insists on an answer."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._headers = {
            "alice": shop.sign_in("alice"),
            "bob": shop.sign_in("bob"),
            "admin": shop.sign_in("admin", "admin"),
        }
        self._stop = threading.Event()
        self.acts, self.wrong = Counter[str](), list[Any]()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """In the background, while the block runs."""
        running = [
            threading.Thread(target=self._run, args=(name, number))
            for number, name in enumerate(("alice", "bob"))
        ]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in running:
                thread.join()

    def _run(self, customer: str, seed: int) -> None:
        chance = random.Random(seed)
        while not self._stop.wait(0.2):
            body = {
                "items": [{"sku": SKU, "quantity": 1}],
                "payment": chance.choice(PAYMENTS),
            }
            prefer = {"Prefer": "respond-async"} if chance.random() < 0.3 else {}
            status, order = self._insist("place", "/api/orders", customer, body, **prefer)
            if status not in (201, 202):
                continue
            act = chance.choice(["none", "none", "cancel", "ship", "refund"])
            path = f"/api/orders/{order['id']}/{act}"
            if act == "refund" and order["payment_id"]:
                self._insist(act, f"/api/payments/{order['payment_id']}/refund", "admin", None)
            elif act in ("cancel", "ship"):
                self._insist(act, path, customer if act == "cancel" else "admin", None)

    def _insist(self, act: str, path: str, who: str, body: Any, **more: str) -> tuple[int, Any]:
        headers = self._headers[who] | {"Idempotency-Key": str(uuid4())} | more
        while True:
            try:
                status, answer = self._shop.request("POST", path, body, **headers)
            except (URLError, HTTPException, ConnectionError, TimeoutError):
                time.sleep(0.3)
                continue
            if status in (503, 504) or (status == 409 and answer["code"] == "in_flight"):
                time.sleep(0.3)
                continue
            break
        self.acts[f"{act} {status}"] += 1
        if status >= 500 or status in (400, 401, 403, 404, 422):
            self.wrong.append((act, status, answer))
        return status, answer


@pytest.mark.parametrize(
    ("placement", "channel"), [("one", "grpc"), ("split", "grpc"), ("split", "rest")]
)
def test_deaths_at_every_kind_of_point_break_no_promise(
    tmp_path: Path, placement: str, channel: str
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    dying = {"DEATHS": str(deaths), "PYTHONPATH": str(Path(__file__).with_name("dying"))}
    shop = Shop(tmp_path, placement, channel, environment=dying)
    try:
        shop.start()
        before = everything(shop, placement)
        people = People(shop)
        (deaths / "armed").touch()
        with people.acting():
            time.sleep(SECONDS)
            (deaths / "armed").unlink()
        shop.eventually(lambda: state.settled(shop, placement), within=180)
        died = [line.split(": ") for line in (deaths / "log").read_text().splitlines()]
        found = everything(shop, placement)
        wrong = [*people.wrong, *violations(before, found)]
    finally:
        shop.stop()
    kinds = Counter(kind for _, kind in died)
    print(f"{placement} {channel}: {len(died)} deaths, {dict(kinds)}; {dict(people.acts)}")  # noqa: T201
    assert not wrong
    assert len(died) >= 15
    assert people.acts["place 201"] + people.acts["place 202"] >= 10


Rows = dict[Any, Any]


def everything(shop: Shop, placement: str) -> dict[str, Any]:
    """What the shop's databases say about orders, money, stock and mails."""
    rows: dict[str, list[Any]] = {}
    wanted: dict[Any, tuple[str, ...]] = {
        Order: ("id", "status", "total", "user_id"),
        OrderLine: ("order_id", "quantity"),
        Payment: ("order_id", "status", "method", "id"),
        TestCharge: ("key", "state"),
        LedgerEntry: ("account", "amount"),
        Product: ("sku", "available", "held"),
        User: ("id", "credit"),
        Notification: ("order_id", "kind"),
        Event: ("stream", "type"),
    }
    for read in state.databases(shop, placement):
        for model, columns in wanted.items():
            rows.setdefault(model.__name__, []).extend(read(model, columns))
    return rows


def violations(before: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Every promise that was broken."""
    orders = {str(i).replace("-", ""): (s, t or 0, u) for i, s, t, u in found["Order"]}
    payments = {str(o).replace("-", ""): (s, m, str(i)) for o, s, m, i in found["Payment"]}
    charged = {str(key) for key, charge in found["TestCharge"] if charge == "charged"}
    for order, (status, _, _) in orders.items():
        paid, method, payment = payments.get(order, ("none", "", ""))
        if status not in KEPT + GIVEN_BACK:
            yield f"order {order} is {status}"
        if (status in KEPT) != (paid == "paid"):
            yield f"order {order} is {status}, its payment {paid}"
        if method == "card" and (status in KEPT) != (payment in charged):
            yield f"order {order} is {status}, charged: {payment in charged}"
    kept = {order: one for order, one in orders.items() if one[0] in KEPT}
    yield from _sums(before, found, kept, payments)
    mails = Counter((str(o).replace("-", ""), k) for o, k in found["Notification"] if o)
    told = Counter(
        (stream.removeprefix("order-").replace("-", ""), kind)
        for stream, kind in found["Event"]
        if kind.startswith("order.")
    )
    for one in mails.keys() | told.keys():
        if (mails[one], told[one]) != (1, 1):
            yield f"{one}: {told[one]} events, {mails[one]} mails"


def _sums(before: Rows, found: Rows, kept: Rows, payments: Rows) -> Iterator[str]:
    gone = sum(q for o, q in found["OrderLine"] if str(o).replace("-", "") in kept)
    stock: Callable[[Rows], Any] = lambda rows: next(r[1:] for r in rows["Product"] if r[0] == SKU)  # noqa: E731
    if stock(found) != (stock(before)[0] - gone, 0):
        yield f"stock was {stock(before)}, is {stock(found)}, {gone} are gone"
    if ledger := sum(amount for _, amount in found["LedgerEntry"]):
        yield f"the ledger's sum is {ledger}"
    sales = -sum(amount for account, amount in found["LedgerEntry"] if account == "sales")
    if sales != sum(total for _, total, _ in kept.values()):
        yield f"sales are {sales} for orders of {sum(t for _, t, _ in kept.values())}"
    credit = dict(found["User"])
    for user, was in before["User"]:
        spent = sum(
            total for o, (_, total, u) in kept.items() if u == user and payments[o][1] == "credit"
        )
        if credit[user] != was - spent:
            yield f"user {user} had {was}, spent {spent}, has {credit[user]}"
