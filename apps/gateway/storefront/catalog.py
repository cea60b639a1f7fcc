"""The pages of products."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static

from apps.gateway.storefront.client import Api, ApiError, path_of
from apps.gateway.storefront.pages import Page

PAGE_SIZE = 20
ORDERS = [
    ("name", "Name"),
    ("unit_price", "Price, low first"),
    ("-unit_price", "Price, high first"),
]
PICTURES = Path(__file__).parents[1] / "static/storefront/products"
PICTURED = frozenset(file.stem for file in PICTURES.glob("*.svg"))
FALLBACK = "fallback"


@dataclass(frozen=True)
class Line:
    """A quantity of a product, as pages show it; `product` is None if there is none."""

    sku: str
    quantity: int
    product: dict[str, Any] | None
    problem: str = ""

    @property
    def total(self) -> int | None:
        return self.product["unit_price"] * self.quantity if self.product else None


class Products(Page):
    """The front page: all products, or those that a search finds."""

    def get(self, request: HttpRequest) -> HttpResponse:
        search, order = request.GET.get("search", "").strip(), request.GET.get("order", "")
        order = order if order in dict(ORDERS) else ORDERS[0][0]
        number = int(page) if (page := request.GET.get("page", "1")).isdecimal() else 1
        query = {"search": search, "ordering": order, "page": str(number)}
        problem, found = "", dict[str, Any](results=[], count=0)
        try:
            found = self.api.get("/api/inventory/products", **query, page_size=str(PAGE_SIZE))
        except ApiError as error:
            if error.code != "invalid":
                raise
            problem = " ".join(text for _, text in error.fields())
        shown: dict[str, Any] = {"found": found, "search": search, "order": order, "orders": ORDERS}
        pages = -(-found["count"] // PAGE_SIZE)
        shown |= {"page": number, "pages": pages, "problem": problem}
        return self.render("products.html", shown)


class Product(Page):
    """A product, with its form for the basket."""

    def get(self, request: HttpRequest, sku: str) -> HttpResponse:
        product = self.api.get(path_of("/api/inventory/products/{}", sku))
        return self.render("product.html", {"product": product})


def picture(sku: str) -> str:
    """Return the URL of a product's picture, or of the fallback.

    The SKU is `<thing>-<make>`: static/storefront/products has a picture of each thing, in which
    each make has a palette.
    """
    thing, _, make = sku.lower().partition("-")
    name = thing if thing in PICTURED else FALLBACK
    return static(f"storefront/products/{name}.svg") + (f"#{make}" if make.isalnum() else "")


def lines(api: Api, wanted: dict[str, int]) -> list[Line]:
    """Return lines with their products, by name. Raises ApiError."""
    products: dict[str, dict[str, Any]] = {}
    if wanted:
        found = api.get("/api/inventory/products", sku=",".join(wanted), page_size="100")
        products = {product["sku"]: product for product in found["results"]}
    return [Line(sku, quantity, products.get(sku)) for sku, quantity in wanted.items()]


def total(found: list[Line]) -> tuple[int, str]:
    """Return the sum of lines in minor units, and its currency."""
    known = [line for line in found if line.product]
    currency = known[0].product["currency"] if known and known[0].product else ""
    return sum(line.total or 0 for line in known), currency
