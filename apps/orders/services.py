"""Commands on orders."""

from typing import NamedTuple
from uuid import UUID

import grpc
from django.db import transaction
from django.utils import timezone

from apps.orders import queries, saga
from apps.orders.models import Order, OrderLine, Parcel
from protos import order_pb2 as pb
from protos.payment_pb2 import CloseRequest
from protos.payment_pb2_grpc import PaymentServiceStub
from severable.errors import DomainError, OutcomeUnknown, from_error
from severable.events import append
from severable.rows import insert_new, set_related
from severable.rpc import stub
from severable.saga import Saga, driver

Status = Order.Status
Wanted = list[tuple[str, int]]


class Placed(NamedTuple):
    """An order in its current state, and, if it was rejected, the reason."""

    order: Order
    error: DomainError | None = None


def place(
    *, order_id: UUID, user_id: int, wanted: Wanted, method: str, token: str, wait: bool
) -> Placed:
    """Place an order, and return it in the state that it has reached.

    With `wait` its saga runs before this returns, as far as possible; otherwise a worker runs it.
    Placing the same order again places nothing, and returns its current state.
    """
    order = Order(id=order_id, user_id=user_id)
    run = _create(order, saga.PlaceOrder(str(order_id), user_id, wanted, method, token), wait)
    if run is None:
        if wait:
            _resume(order_id)
        return _stored(order_id)
    if not wait:
        return Placed(order)
    run.attempt()
    if run.status == Saga.Status.COMPLETED:
        return Placed(_as_paid(order, saga.PLACE.load(run.data)))
    return _stored(order_id)


@transaction.atomic
def cancel(*, order_id: UUID) -> Order:
    """Cancel an order that has not been shipped. Its own saga compensates it if that is still
    running, otherwise a saga of its own."""
    order = queries.locked(order_id)
    if order.status == Status.CANCELLED:
        return order
    paid = order.status == Status.PAID
    order.become(Status.CANCELLED)
    order.save(update_fields=["status", "updated_at"])
    append(pb.OrderCancelled(order_id=str(order.id), user_id=order.user_id), stream=order.stream)
    if paid:
        driver.start(saga.CANCEL, order.id, saga.CancelOrder(str(order.id)), claimed=False)
    return order


def ship(*, order_id: UUID) -> Order:
    """Ship a paid order. Its payment is closed first, so that staff cannot refund a shipped order.
    Raises OutcomeUnknown if payments did not respond: then retry."""
    order = queries.order(order_id)
    if order.status == Status.SHIPPED:
        return order
    order.become(Status.SHIPPED)
    _close_payment(order_id)
    return _mark_shipped(order_id)


def _close_payment(order_id: UUID) -> None:
    try:
        stub(PaymentServiceStub).Close(CloseRequest(order_id=str(order_id)))
    except grpc.RpcError as error:
        raise from_error(error) or OutcomeUnknown("payments did not respond") from error


@transaction.atomic
def _mark_shipped(order_id: UUID) -> Order:
    order = queries.locked(order_id)
    if order.status == Status.SHIPPED:
        return order
    order.become(Status.SHIPPED)
    order.save(update_fields=["status", "updated_at"])
    Parcel.objects.filter(order=order).update(shipped_at=timezone.now())
    append(pb.OrderShipped(order_id=str(order.id), user_id=order.user_id), stream=order.stream)
    return order


def pack(*, order_id: UUID, name: str, address: str) -> None:
    """Pack a parcel for a paid order."""
    order = queries.locked(order_id)
    if order.status in (Status.PAID, Status.SHIPPED):
        shipped = order.updated_at if order.status == Status.SHIPPED else None
        Parcel.objects.create(order=order, name=name, address=address, shipped_at=shipped)


@transaction.atomic
def _create(order: Order, data: saga.PlaceOrder, claimed: bool) -> Saga | None:
    """Insert a new order and start its saga. Return None if the order exists."""
    if not insert_new(order):
        return None
    lines = [OrderLine(order=order, sku=sku, quantity=quantity) for sku, quantity in data.wanted]
    set_related(order, "lines", OrderLine.objects.bulk_create(lines))
    append(
        pb.OrderCreated(
            order_id=data.order_id,
            user_id=data.user_id,
            lines=[pb.Line(sku=sku, quantity=quantity) for sku, quantity in data.wanted],
        ),
        stream=order.stream,
    )
    return driver.start(saga.PLACE, order.id, data, claimed=claimed)


def _resume(order_id: UUID) -> None:
    """Run an order's saga further, unless another process owns it or it has ended."""
    run = Saga.of(saga.PLACE.name, order_id)
    claimed = Saga.claim(run.pk) if run else None
    if claimed:
        claimed.attempt()


def _stored(order_id: UUID) -> Placed:
    order = queries.order(order_id)
    run = Saga.of(saga.PLACE.name, order_id) if order.status == Status.REJECTED else None
    return Placed(order, run.domain_error if run else None)


def _as_paid(order: Order, data: saga.PlaceOrder) -> Order:
    """Set in memory what the saga has written."""
    order.status = Status.PAID
    for name, value in saga.paid_columns(data).items():
        setattr(order, name, value)
    for line in order.lines.all():
        line.unit_price = data.prices[line.sku]
    return order
