"""The steps of placing an order and of cancelling a paid one, with their compensations."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from django.db.models import BigIntegerField, Case, Value, When
from django.utils import timezone

from apps.orders.models import IllegalTransition, Order, OrderLine, stream_of
from protos import inventory_pb2, order_pb2, payment_pb2, user_pb2
from protos.inventory_pb2_grpc import InventoryServiceStub
from protos.payment_pb2_grpc import PaymentServiceStub
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import Invalid, NotFound, from_error
from severable.events import append
from severable.rpc import stub
from severable.saga import Definition, Step, define


class UnknownUser(Invalid):
    code = "unknown_user"

    def __init__(self, user_id: int) -> None:
        super().__init__(f"There is no user {user_id} who may order.", field="user_id")


@dataclass
class CancelOrder:
    """The data of cancelling an order, and of every step that only needs the order's id."""

    order_id: str


@dataclass
class PlaceOrder(CancelOrder):
    """The data of placing an order. The fields with defaults are set by the steps."""

    user_id: int
    wanted: list[tuple[str, int]]  # SKU, quantity
    method: str
    token: str  # of the card; "" once the order is decided
    prices: dict[str, int] = field(default_factory=dict)  # by SKU, in minor units
    total: int = 0  # in minor units
    currency: str = ""
    payment_id: str = ""
    decided_at: str = ""  # ISO 8601


def find_customer(data: PlaceOrder) -> None:
    try:
        user = stub(UserServiceStub).GetUser(user_pb2.GetUserRequest(user_id=data.user_id))
    except grpc.RpcError as error:
        if isinstance(from_error(error), NotFound):
            raise UnknownUser(data.user_id) from None
        raise
    if not user.active:
        raise UnknownUser(data.user_id)


def reserve(data: PlaceOrder) -> None:
    lines = [inventory_pb2.Line(sku=sku, quantity=quantity) for sku, quantity in data.wanted]
    held = stub(InventoryServiceStub).Reserve(
        inventory_pb2.ReserveRequest(order_id=data.order_id, lines=lines)
    )
    data.prices = {line.sku: line.unit_price for line in held.lines}
    data.total, data.currency = held.total, held.currency


def release(data: CancelOrder) -> None:
    stub(InventoryServiceStub).Release(inventory_pb2.ReleaseRequest(order_id=data.order_id))


def pay(data: PlaceOrder) -> None:
    payment = stub(PaymentServiceStub).Pay(
        payment_pb2.PayRequest(
            order_id=data.order_id,
            user_id=data.user_id,
            amount=data.total,
            currency=data.currency,
            method=payment_pb2.Method(method=data.method, token=data.token),
        )
    )
    data.payment_id = payment.id


def refund(data: CancelOrder) -> None:
    stub(PaymentServiceStub).Refund(payment_pb2.RefundRequest(order_id=data.order_id))


def mark_paid(data: PlaceOrder) -> None:
    """Set the order to paid, with its prices. Raises IllegalTransition if it was cancelled
    meanwhile: then the saga is compensated."""
    now = timezone.now()
    data.decided_at = now.isoformat()
    Order.transition(UUID(data.order_id), Order.Status.PAID, **paid_columns(data))
    _write_prices(data)
    data.token = ""
    paid = order_pb2.OrderPaid(
        order_id=data.order_id,
        user_id=data.user_id,
        payment_id=data.payment_id,
        total=data.total,
        currency=data.currency,
        lines=[
            order_pb2.Line(sku=sku, quantity=quantity, unit_price=data.prices[sku])
            for sku, quantity in data.wanted
        ],
    )
    paid.paid_at.FromDatetime(now)
    append(paid, stream=stream_of(data.order_id))


def paid_columns(data: PlaceOrder) -> dict[str, Any]:
    """Return the columns that a paid order has from its saga, apart from the status."""
    return {
        "total": data.total,
        "currency": data.currency,
        "payment_id": UUID(data.payment_id),
        "updated_at": datetime.fromisoformat(data.decided_at),
    }


def mark_rejected(data: PlaceOrder, reason: str, detail: str) -> None:
    """Set the order to rejected, unless it was cancelled meanwhile."""
    data.token = ""
    columns: dict[str, Any] = {"reason": reason, "detail": detail[:500]}
    if data.prices:
        columns |= {"total": data.total, "currency": data.currency}
    try:
        Order.transition(UUID(data.order_id), Order.Status.REJECTED, **columns)
    except IllegalTransition as error:
        if error.status != Order.Status.CANCELLED:
            raise
        return
    if data.prices:
        _write_prices(data)
    append(
        order_pb2.OrderRejected(
            order_id=data.order_id, user_id=data.user_id, reason=reason, detail=detail
        ),
        stream=stream_of(data.order_id),
    )


def _write_prices(data: PlaceOrder) -> None:
    prices = [When(sku=sku, then=Value(price)) for sku, price in data.prices.items()]
    OrderLine.objects.filter(order_id=UUID(data.order_id)).update(
        unit_price=Case(*prices, output_field=BigIntegerField())
    )


PLACE = define(
    Definition(
        name="place_order",
        context="orders",
        data=PlaceOrder,
        steps=(
            Step("customer", find_customer, read_only=True),
            Step("stock", reserve, compensation=release),
            Step("payment", pay, compensation=refund, on_success=mark_paid),
        ),
        on_compensated=mark_rejected,
    )
)

CANCEL = define(
    Definition(
        name="cancel_order",
        context="orders",
        data=CancelOrder,
        steps=(Step("refund", refund), Step("release", release)),
        timeout=None,
    )
)
