"""The steps of placing an order and of cancelling a paid one, with their compensations."""

from uuid import UUID

import grpc

from apps.orders import queries
from apps.orders.models import Order, OrderLine
from protos import inventory_pb2, order_pb2, payment_pb2, user_pb2
from protos.inventory_pb2_grpc import InventoryServiceStub
from protos.payment_pb2_grpc import PaymentServiceStub
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import Invalid, NotFound, from_error
from severable.events import append
from severable.rpc import stub
from severable.saga import Data, Definition, Step, define


class UnknownUser(Invalid):
    code = "unknown_user"

    def __init__(self, user_id: int) -> None:
        super().__init__(f"There is no user {user_id} who may order.", field="user_id")


def data(
    order_id: UUID, user_id: int, wanted: list[tuple[str, int]], method: str, token: str
) -> Data:
    """Return the data with which the placing of an order starts."""
    return {
        "order_id": str(order_id),
        "user_id": user_id,
        "wanted": wanted,
        "method": method,
        "token": token,
    }


def find_customer(data: Data) -> None:
    try:
        user = stub(UserServiceStub).GetUser(user_pb2.GetUserRequest(user_id=data["user_id"]))
    except grpc.RpcError as error:
        if isinstance(from_error(error), NotFound):
            raise UnknownUser(data["user_id"]) from None
        raise
    if not user.active:
        raise UnknownUser(data["user_id"])


def reserve(data: Data) -> None:
    lines = [inventory_pb2.Line(sku=sku, quantity=quantity) for sku, quantity in data["wanted"]]
    held = stub(InventoryServiceStub).Reserve(
        inventory_pb2.ReserveRequest(order_id=data["order_id"], lines=lines)
    )
    data["prices"] = {line.sku: line.unit_price for line in held.lines}
    data["total"], data["currency"] = held.total, held.currency


def release(data: Data) -> None:
    stub(InventoryServiceStub).Release(inventory_pb2.ReleaseRequest(order_id=data["order_id"]))


def pay(data: Data) -> None:
    payment = stub(PaymentServiceStub).Pay(
        payment_pb2.PayRequest(
            order_id=data["order_id"],
            user_id=data["user_id"],
            amount=data["total"],
            currency=data["currency"],
            method=payment_pb2.Method(method=data["method"], token=data["token"]),
        )
    )
    data["payment_id"] = payment.id


def refund(data: Data) -> None:
    stub(PaymentServiceStub).Refund(payment_pb2.RefundRequest(order_id=data["order_id"]))


def write_prices(data: Data) -> None:
    order = _locked(data)
    order.total, order.currency = data["total"], data["currency"]
    order.save(update_fields=["total", "currency", "updated_at"])
    lines = list(order.lines.all())
    for line in lines:
        line.unit_price = data["prices"][line.sku]
    OrderLine.objects.bulk_update(lines, ["unit_price"])


def mark_paid(data: Data) -> None:
    """Refuse an order that was cancelled meanwhile: then all is compensated."""
    order = _locked(data)
    order.become(Order.Status.PAID)
    order.payment_id = UUID(data["payment_id"])
    order.save(update_fields=["status", "payment_id", "updated_at"])
    data.pop("token")
    paid = order_pb2.OrderPaid(
        order_id=str(order.id),
        user_id=order.user_id,
        payment_id=str(order.payment_id),
        total=data["total"],
        currency=order.currency,
        lines=queries.lines(order),
    )
    paid.paid_at.FromDatetime(order.updated_at)
    append(paid, stream=order.stream)


def mark_rejected(data: Data, reason: str, detail: str) -> None:
    data.pop("token")
    order = _locked(data)
    if order.status == Order.Status.CANCELLED:
        return
    order.become(Order.Status.REJECTED)
    order.reason, order.detail = reason, detail[:500]
    order.save(update_fields=["status", "reason", "detail", "updated_at"])
    append(
        order_pb2.OrderRejected(
            order_id=str(order.id), user_id=order.user_id, reason=reason, detail=detail
        ),
        stream=order.stream,
    )


def _locked(data: Data) -> Order:
    return queries.locked(UUID(data["order_id"]))


PLACE = define(
    Definition(
        name="place_order",
        context="orders",
        steps=(
            Step("customer", find_customer),
            Step("stock", reserve, compensation=release, on_success=write_prices),
            Step("payment", pay, compensation=refund, on_success=mark_paid),
        ),
        on_compensated=mark_rejected,
    )
)

CANCEL = define(
    Definition(
        name="cancel_order",
        context="orders",
        steps=(Step("refund", refund), Step("release", release)),
        timeout=None,
    )
)
