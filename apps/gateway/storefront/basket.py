"""The basket: SKUs and quantities, in a signed cookie. Prices are always the API's."""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.http import HttpRequest, HttpResponse

from apps.gateway.storefront.session import set_cookie

COOKIE, SALT = "shop_basket", "storefront.basket"
KEEP_SECONDS = 30 * 86_400
MAX_LINES, MAX_QUANTITY = 40, 1000
MAX_SKU = 40  # characters


class BasketFull(Exception):
    """The basket has no room for another product."""


class Basket:
    """The basket of a request's client, and its changes for the response."""

    def __init__(self, request: HttpRequest) -> None:
        self.lines = _read(request.COOKIES.get(COOKIE, ""))
        self._changed = False

    def __len__(self) -> int:
        return sum(self.lines.values())

    def add(self, sku: str, quantity: int) -> None:
        """Add to a product's quantity, up to MAX_QUANTITY. Raises BasketFull."""
        if sku not in self.lines and len(self.lines) >= MAX_LINES:
            raise BasketFull
        self.set(sku, min(self.lines.get(sku, 0) + quantity, MAX_QUANTITY))

    def set(self, sku: str, quantity: int) -> None:
        """Set a product's quantity; 0 removes it."""
        self.lines[sku] = quantity
        if not quantity:
            del self.lines[sku]
        self._changed = True

    def remove(self, ordered: dict[str, int]) -> None:
        """Remove what was ordered."""
        for sku in ordered.keys() & self.lines.keys():
            self.set(sku, max(0, self.lines[sku] - ordered[sku]))

    def save(self, response: HttpResponse) -> None:
        """Set the cookie of a response, if the basket has changed."""
        if self._changed:
            value = signing.dumps(self.lines, salt=SALT, compress=True)
            set_cookie(response, COOKIE, value, KEEP_SECONDS)


def _read(cookie: str) -> dict[str, int]:
    """Return the lines in a cookie; none if it was not signed here."""
    try:
        found: Any = signing.loads(cookie, salt=SALT, max_age=KEEP_SECONDS) if cookie else {}
    except signing.BadSignature:
        return {}
    return dict(found)
