"""Inventory's subscriptions to events, and its periodic work."""

from uuid import UUID

from apps.inventory import services
from protos.order_pb2 import OrderPaid
from severable.events import on
from severable.jobs import periodic

periodic(seconds=60)(services.expire_reservations)


@on(OrderPaid)
def sell_what_was_held(event: OrderPaid) -> None:
    services.sell(order_id=UUID(event.order_id))
