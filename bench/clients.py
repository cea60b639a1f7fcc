"""Clients over real HTTP, each with a connection that stays open."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

CLIENTS = 8


class Client:
    """A customer who is signed in, with one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Content-Type": "application/json"}
        _, tokens = self.request(
            "POST", "/api/auth/token", {"username": "alice", "password": "demo"}
        )
        self._headers["Authorization"] = f"Bearer {tokens['access']}"

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the JSON of the response."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, self._headers | (headers or {}))
        response = self._connection.getresponse()
        return response.status, json.loads(response.read() or "null")

    def order(self, sku: str) -> Any:
        """Place an order, and return it. Raises RuntimeError unless it is paid or accepted."""
        body = {
            "items": [{"sku": sku, "quantity": 1}],
            "payment": {"method": "card", "token": "tok_visa"},
        }
        status, answer = self.request("POST", "/api/orders", body, {"Idempotency-Key": uuid4().hex})
        if status not in (201, 202):
            raise RuntimeError(f"an order was answered with {status}: {answer}")
        return answer

    def product(self, sku: str) -> None:
        """Read a product."""
        self.get(f"/api/inventory/products/{sku}")

    def get(self, path: str) -> Any:
        """Return the JSON of a resource. Raises RuntimeError if the status is not 200."""
        status, answer = self.request("GET", path)
        if status != 200:
            raise RuntimeError(f"{path} was answered with {status}: {answer}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Clients:
    """Eight clients of one system that do the same side by side."""

    def __init__(self, port: int, skus: list[str]) -> None:
        self._clients = [Client(port) for _ in range(CLIENTS)]
        self._skus = skus

    def orders(self, total: int) -> list[float]:
        """Place so many orders, and return the seconds that each took."""
        return self._all("order", total)

    def products(self, total: int) -> list[float]:
        """Read a product so many times, and return the seconds that each took."""
        return self._all("product", total)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    def _all(self, action: str, total: int) -> list[float]:
        self.close()  # each connects anew: the server has ended connections that were idle
        numbers = count()
        with ThreadPoolExecutor(CLIENTS) as pool:
            work = partial(self._repeat, action, total, numbers)
            taken = list(pool.map(work, range(CLIENTS)))
        return [seconds for one in taken for seconds in one]

    def _repeat(self, action: str, total: int, numbers: Any, client: int) -> list[float]:
        act, sku, taken = getattr(self._clients[client], action), self._skus[client], []
        while next(numbers) < total:
            start = time.perf_counter()
            act(sku)
            taken.append(time.perf_counter() - start)
        return taken
