"""What the generic tests need to know of inventory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from apps.inventory import services
from apps.inventory.models import Product, Reservation, ReservedLine
from protos import inventory_pb2 as pb
from protos.inventory_pb2_grpc import InventoryServiceStub
from tests.admin import rows
from tests.samples import PUBLIC, STAFF, Call, Known, Route

ROUTES = {
    ("GET", "/api/inventory/products"): Route(PUBLIC, documented={200, 400, 404}),
    ("GET", "/api/inventory/products/<sku:sku>"): Route(PUBLIC),
    ("POST", "/api/inventory/products/<sku:sku>/restock"): Route(
        STAFF, {"quantity": 1}, granted={"inventory:write": 200}
    ),
    ("POST", "/api/inventory/check"): Route(
        PUBLIC, lambda known: {"items": [{"sku": known["sku"], "quantity": 1}]}, keyless=True
    ),
}
EDITABLE = {Product: {"change", "add"}}
WORDS = ["MUG", "-unit_price"]


def product(owner: Any, known: Known) -> str:
    if not Product.objects.filter(sku="MUG").exists():
        services.add_product(
            sku="MUG", name="Mug", description="", unit_price=900, currency="EUR", available=10
        )
    return "MUG"


PARAMETERS = {"sku": product}


def calls(user: Any, known: Known) -> Iterator[Call]:
    def call(name: str, request: Any) -> Call:
        return InventoryServiceStub, name, request

    order, lines = str(uuid4()), [pb.Line(sku=known["sku"], quantity=2)]
    yield call("GetProducts", pb.GetProductsRequest(skus=[known["sku"]]))
    yield call("Reserve", pb.ReserveRequest(order_id=order, lines=lines))
    yield call("Release", pb.ReleaseRequest(order_id=order))
    yield call("Release", pb.ReleaseRequest(order_id=str(uuid4())))  # it came before its Reserve


def reserved(of: Reservation, n: int) -> None:
    product = rows.make(Product, n)
    ReservedLine.objects.create(reservation=of, product=product, quantity=n, unit_price=n)


PARTS = {Reservation: reserved}
