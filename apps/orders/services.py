"""Commands on orders."""

from typing import Any
from uuid import UUID

import grpc
from django.db import transaction
from django.utils import timezone

from apps.orders import queries, saga
from apps.orders.models import Order, OrderLine, Parcel
from protos import order_pb2 as pb
from protos.payment_pb2 import CloseRequest
from protos.payment_pb2_grpc import PaymentServiceStub
from severable.errors import OutcomeUnknown, from_error
from severable.events import append
from severable.rpc import stub
from severable.saga import Saga, driver

Status = Order.Status
Wanted = list[tuple[str, int]]


def place(
    *, order_id: UUID, user_id: int, wanted: Wanted, method: str, token: str, wait: bool
) -> Order:
    """Take an order. With `wait` it is carried out before this returns, as far as it comes;
    otherwise by a worker. The same order again answers with how far it has come."""
    known = Order.objects.filter(id=order_id).first()
    run = (
        Saga.of(saga.PLACE.name, order_id)
        if known
        else _create(
            order_id, user_id, wanted, saga.data(order_id, user_id, wanted, method, token), wait
        )
    )
    if wait and run and (not known or (run := Saga.claim(run.pk))):
        run.attempt()
    return queries.order(order_id)


@transaction.atomic
def cancel(*, order_id: UUID) -> Order:
    """Cancel an order that has not been shipped. What it had taken is given back: by its own
    saga where that is still under way, else by another one."""
    order = queries.locked(order_id)
    if order.status == Status.CANCELLED:
        return order
    paid = order.status == Status.PAID
    order.become(Status.CANCELLED)
    order.save(update_fields=["status", "updated_at"])
    append(pb.OrderCancelled(order_id=str(order.id), user_id=order.user_id), stream=order.stream)
    if paid:
        driver.start(saga.CANCEL, order.id, {"order_id": str(order.id)}, claimed=False)
    return order


def ship(*, order_id: UUID) -> Order:
    """Send a paid order off. Its payment is closed first, so that staff cannot refund what has
    left. Raises OutcomeUnknown if payments did not answer: then ask again."""
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
        raise from_error(error) or OutcomeUnknown("payments did not answer") from error


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
    """Pack a parcel for an order that was paid."""
    order = queries.locked(order_id)
    if order.status in (Status.PAID, Status.SHIPPED):
        shipped = order.updated_at if order.status == Status.SHIPPED else None
        Parcel.objects.create(order=order, name=name, address=address, shipped_at=shipped)


@transaction.atomic
def _create(order_id: UUID, user_id: int, wanted: Wanted, data: dict[str, Any], wait: bool) -> Saga:
    order = Order.objects.create(id=order_id, user_id=user_id)
    OrderLine.objects.bulk_create(
        OrderLine(order=order, sku=sku, quantity=quantity) for sku, quantity in wanted
    )
    append(
        pb.OrderCreated(
            order_id=str(order_id),
            user_id=user_id,
            lines=[pb.Line(sku=sku, quantity=quantity) for sku, quantity in wanted],
        ),
        stream=order.stream,
    )
    return driver.start(saga.PLACE, order_id, data, claimed=wait)
