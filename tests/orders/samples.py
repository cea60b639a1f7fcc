"""What the generic tests need to know of orders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rest_framework.test import APIClient

from apps.orders.models import Order, OrderLine
from protos import order_pb2 as pb
from protos.order_pb2_grpc import OrderServiceStub
from tests.admin import rows
from tests.conftest import token_of
from tests.samples import OWN, OWNER_AND_STAFF, STAFF, Call, Known, Route

ONE = "/api/orders/<uuid:order_id>"
READ = {"orders:ship": 200, "admin:orders": 200}


def ordered(known: Known) -> dict[str, Any]:
    """The body of an order."""
    items = [{"sku": known["sku"], "quantity": 1}]
    return {"items": items, "payment": {"method": "card", "token": "tok_visa"}}


ROUTES = {
    ("GET", "/api/orders"): Route(OWN, documented={200, 400, 401, 404}),
    ("POST", "/api/orders"): Route(
        (401, 201, 201, 201),
        ordered,
        documented={201, 202, 400, 401, 402, 409, 413, 415, 422},
    ),
    ("GET", ONE): Route(OWNER_AND_STAFF, granted=READ, documented={200, 401, 404}),
    ("POST", f"{ONE}/cancel"): Route(
        OWNER_AND_STAFF,
        granted={"admin:orders": 200, "orders:ship": 403},  # seen, but not theirs
    ),
    ("POST", f"{ONE}/ship"): Route(STAFF, granted={"orders:ship": 200}),
    ("GET", f"{ONE}/timeline"): Route(OWNER_AND_STAFF, granted=READ),
    ("POST", "/api/admin/orders"): Route(
        (401, 403, 403, 201),
        lambda known: ordered(known) | {"user_id": int(known["user_id"])},
        granted={"admin:orders": 201},
    ),
}
HIDDEN = {Order: ["user_id__gte"]}


def order_of(owner: Any, known: Known) -> str:
    client = APIClient(headers={"Authorization": f"Bearer {token_of(owner)}"})
    return str(client.post("/api/orders", ordered(known)).json()["id"])


PARAMETERS = {"order_id": order_of}


def calls(user: Any, known: Known) -> Iterator[Call]:
    yield OrderServiceStub, "GetOrder", pb.GetOrderRequest(order_id=known["order_id"])


def order(n: int) -> Order:
    return Order.objects.create(user_id=n, status="rejected", total=n, currency="EUR")


def line(of: Order, n: int) -> None:
    OrderLine.objects.create(order=of, sku=f"P{n}", quantity=n, unit_price=n)
    rows.event(n, of.stream)


ROWS = {Order: order}
PARTS = {Order: line}
