"""A customer who uses the storefront's forms, without a browser."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from django.test import Client

PASSWORD = "correct horse battery"
CARD = {"method": "card", "token": "tok_visa"}
ATTEMPT = re.compile(r'name="attempt" value="([^"]+)"')


class Customer:
    """A client with cookies, and what it does in the shop."""

    def __init__(self, username: str = "alice") -> None:
        self.client, self.username = Client(), username

    def get(self, path: str, **extra: Any) -> Any:
        return self.client.get(path, **extra)

    def sign_in(self, password: str = PASSWORD, **more: str) -> Any:
        form = {"username": self.username, "password": password, **more}
        return self.client.post("/sign-in", form)

    def add(self, sku: str = "MUG", quantity: int = 1) -> Any:
        return self.client.post("/basket/add", {"sku": sku, "quantity": quantity})

    def basket(self) -> str:
        return self.text("/basket")

    def text(self, path: str) -> str:
        return str(self.get(path).content.decode())

    def checkout(self) -> str:
        """Open the checkout, and return the attempt in its form."""
        return attempt_in(self.get("/checkout"))

    def buy(self, attempt: str = "", payment: dict[str, str] | None = None) -> Any:
        return self.client.post(
            "/checkout", {"attempt": attempt or self.checkout(), **(payment or CARD)}
        )

    def ready(self, sku: str = "MUG", quantity: int = 1) -> Customer:
        """Sign in, and have something in the basket."""
        assert self.sign_in().status_code == 302
        assert self.add(sku, quantity).status_code == 302
        return self


def attempt_in(answer: Any) -> str:
    found = ATTEMPT.search(answer.content.decode())
    assert found, answer.content.decode()
    return found[1]


def order_at(answer: Any) -> str:
    """Return the order's id that a purchase leads to."""
    assert answer.status_code == 302, answer.content.decode()
    path = urlsplit(answer["Location"]).path
    assert path.startswith("/orders/"), path
    return path.rpartition("/")[2]
