"""The customer's orders, with their status as it changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from apps.gateway.storefront import catalog
from apps.gateway.storefront.client import ApiError, NotFound, SignInRequired
from apps.gateway.storefront.pages import Page

PAGE_SIZE = 10
CANCELLABLE = ("pending", "paid")
# The texts that customers see instead of the names of events and steps
WHAT = {
    "OrderCreated": "Order received",
    "OrderPaid": "Order paid",
    "OrderRejected": "Order rejected",
    "OrderCancelled": "Order cancelled",
    "OrderShipped": "Order shipped",
}
STATES = {"happened": "", "unknown": "no answer yet", "to do": "next", "to compensate": "next"}
REASONS = {
    "payment_declined": "The payment was declined. You have paid nothing.",
    "insufficient_stock": "There was not enough stock. You have paid nothing.",
    "unknown_product": "A product is no longer sold. You have paid nothing.",
}


class Orders(Page):
    """The orders, the newest first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        cursor = {"cursor": given} if (given := request.GET.get("cursor", "")) else {}
        found = self.api.own("/api/orders", page_size=str(PAGE_SIZE), **cursor)
        orders = [_shown(order) for order in found["results"]]
        live = any(order["status"] == "pending" for order in orders)
        fragment = "_orders.html" if "fragment" in request.GET else "orders.html"
        links = {"newer": _cursor(found["previous"]), "older": _cursor(found["next"])}
        return self.render(fragment, {"orders": orders, "live": live, "cursor": given, **links})


class Order(Page):
    """An order with its timeline."""

    def get(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        return self._page(order_id, "_order.html" if "fragment" in request.GET else "order.html")

    def _page(self, order_id: UUID, template: str, problem: str = "") -> HttpResponse:
        order = _shown(self.api.own(f"/api/orders/{order_id}"))
        timeline = [_entry(entry) for entry in self.api.own(f"/api/orders/{order_id}/timeline")]
        undone = any(entry["at"] is None for entry in timeline)
        live = undone or order["status"] == "pending"
        shown = {"order": order, "timeline": timeline, "problem": problem, "live": live}
        return self.render(template, shown | {"lines": self._lines(order)})

    def _lines(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the lines with the names of their products, if inventory responds."""
        wanted = {line["sku"]: line["quantity"] for line in order["lines"]}
        try:
            products = {line.sku: line.product for line in catalog.lines(self.api, wanted)}
        except ApiError:
            products = {}
        return [
            line
            | {"product": products.get(line["sku"])}
            | {"total": line["unit_price"] and line["unit_price"] * line["quantity"]}
            for line in order["lines"]
        ]


class Cancel(Order):
    """The button to cancel an order."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, order_id: UUID) -> HttpResponse:
        try:
            self.api.order(f"/api/orders/{order_id}/cancel", None, key=f"cancel-{order_id}")
        except (SignInRequired, NotFound):
            raise
        except ApiError as error:
            text = error.detail if error.status < 500 else "The shop did not answer. Try again."
            return self._page(order_id, "order.html", problem=text)
        return redirect("storefront:order", order_id)

    def back(self) -> str:
        return reverse("storefront:order", kwargs=self.kwargs)


def _shown(order: dict[str, Any]) -> dict[str, Any]:
    return order | {
        "created_at": datetime.fromisoformat(order["created_at"]),
        "cancellable": order["status"] in CANCELLABLE,
        "why": REASONS.get(order["reason"], order["reason"]),
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromisoformat(entry["at"]) if entry["at"] else None
    what = WHAT.get(entry["what"]) or entry["what"].partition(": ")[2] or entry["what"]
    state = STATES.get(entry["state"], entry["state"])
    return entry | {"at": at, "what": what.replace("_", " "), "state": state}


def _cursor(link: str | None) -> str:
    """Return the cursor in a link of the API, or "" if there is none."""
    return parse_qs(urlsplit(link or "").query).get("cursor", [""])[0]
