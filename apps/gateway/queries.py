"""Queries that call several contexts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc

from protos import inventory_pb2, order_pb2, payment_pb2, user_pb2
from protos.inventory_pb2_grpc import InventoryServiceStub
from protos.order_pb2_grpc import OrderServiceStub
from protos.payment_pb2_grpc import PaymentServiceStub
from protos.user_pb2_grpc import UserServiceStub
from severable.rpc import stub


@dataclass
class Summary:
    """An order and its related data. Parts whose context did not respond are None, and `missing`
    has their names."""

    order: order_pb2.Order
    customer: user_pb2.UserResponse | None = None
    payment: payment_pb2.Payment | None = None
    products: list[inventory_pb2.Product] | None = None
    missing: list[str] = field(default_factory=list)


def order(order_id: UUID) -> order_pb2.Order:
    return stub(OrderServiceStub).GetOrder(order_pb2.GetOrderRequest(order_id=str(order_id)))


def summary(order: order_pb2.Order) -> Summary:
    """Return an order's summary. The calls to the contexts run at the same time."""
    asked = {
        "customer": _customer(order),
        "payment": _payment(order),
        "products": _products(order),
    }
    found = Summary(order)
    for name, answer in asked.items():
        try:
            setattr(found, name, answer())
        except grpc.RpcError:
            found.missing.append(name)
    return found


def _customer(order: order_pb2.Order) -> Callable[[], Any]:
    return (
        stub(UserServiceStub).GetUser.future(user_pb2.GetUserRequest(user_id=order.user_id)).result
    )


def _payment(order: order_pb2.Order) -> Callable[[], Any]:
    if not order.payment_id:
        return lambda: None
    request = payment_pb2.GetPaymentRequest(payment_id=order.payment_id)
    return stub(PaymentServiceStub).GetPayment.future(request).result


def _products(order: order_pb2.Order) -> Callable[[], Any]:
    request = inventory_pb2.GetProductsRequest(skus=[line.sku for line in order.lines])
    answer = stub(InventoryServiceStub).GetProducts.future(request)
    return lambda: list(answer.result().products)
