"""Reads of orders."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import grpc
from django.db.models import QuerySet

from apps.orders.models import Order
from protos import order_pb2 as pb
from protos.user_pb2 import GetUserRequest
from protos.user_pb2_grpc import UserServiceStub
from severable.caching import cached_stub
from severable.errors import NotFound
from severable.events import Event
from severable.saga import Outcome, story


class OrderNotFound(NotFound):
    code = "order_not_found"

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"There is no order {order_id}.")


def orders(user_id: int) -> QuerySet[Order]:
    """Return a customer's orders, with their lines."""
    return Order.objects.filter(user_id=user_id).prefetch_related("lines")


def order(order_id: UUID) -> Order:
    """Return an order with its lines. Raises OrderNotFound."""
    found = Order.objects.filter(id=order_id).prefetch_related("lines").first()
    if found is None:
        raise OrderNotFound(order_id)
    return found


def locked(order_id: UUID) -> Order:
    """Return an order, locked until the transaction ends. Raises OrderNotFound."""
    found = Order.objects.select_for_update().filter(id=order_id).first()
    if found is None:
        raise OrderNotFound(order_id)
    return found


def lines(order: Order) -> list[pb.Line]:
    return [
        pb.Line(sku=line.sku, quantity=line.quantity, unit_price=line.unit_price or 0)
        for line in order.lines.all()
    ]


def customer_name(user_id: int) -> str:
    """Return a customer's name for staff, or only the id if users do not respond in a second."""
    try:
        customer = cached_stub(UserServiceStub).GetUser(GetUserRequest(user_id=user_id), timeout=1)
    except grpc.RpcError:
        return f"user {user_id}"
    return customer.name


@dataclass(frozen=True)
class TimelineEntry:
    """An event of an order, or a step of its sagas. `at` is None if the step has not run yet."""

    at: datetime | None
    what: str
    state: str
    detail: str = ""


# The detail that a customer sees instead of an exception
NO_ANSWER = "There was no answer. The step is repeated."


def timeline(order: Order, *, internals: bool = False) -> list[TimelineEntry]:
    """Return an order's events and the steps of its sagas, including those that have not run yet.
    `internals`, for staff, adds exceptions and internal addresses."""
    events = Event.objects.filter(stream=order.stream).order_by("version")
    entries = [TimelineEntry(e.recorded_at, e.type.partition(".")[2], "happened") for e in events]
    for step in story.of(order.id):
        unknown = step.state == Outcome.UNKNOWN
        detail = NO_ANSWER if unknown and not internals else step.detail
        entries.append(TimelineEntry(step.at, step.what, step.state, detail))
    return sorted(entries, key=lambda entry: (entry.at is None, entry.at or order.created_at))
