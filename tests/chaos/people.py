"""People who use a shop that is in trouble."""

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
from uuid import uuid4

from tests.chaos.invariants import plain
from tests.chaos.running import Shop

SKUS = ("MUG-OAK", "CLOCK-OAK")
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
        self.placed = set[str]()
        self.accepted: list[float] = []  # when an order was answered 201 or 202

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
                "items": [{"sku": chance.choice(SKUS), "quantity": 1}],
                "payment": chance.choice(PAYMENTS),
            }
            prefer = {"Prefer": "respond-async"} if chance.random() < 0.3 else {}
            status, order = self._insist("place", "/api/orders", customer, body, **prefer)
            if identifier := order.get("order_id") or order.get("id"):
                self.placed.add(plain(identifier))
            if status not in (201, 202):
                continue
            self.accepted.append(time.monotonic())
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
