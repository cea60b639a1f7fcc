"""Inventory's subscriptions to events."""

from datetime import UTC
from uuid import UUID

from django.utils.timezone import localdate

from apps.inventory import services
from protos.order_pb2 import OrderCancelled, OrderPaid
from severable.events import on


@on(OrderPaid)
def sell_what_was_held(event: OrderPaid) -> None:
    services.sell(order_id=UUID(event.order_id))


@on(OrderPaid, OrderCancelled, start="beginning", replay=True, in_order=True)
def count_sales(event: OrderPaid | OrderCancelled) -> None:
    order_id = UUID(event.order_id)
    if isinstance(event, OrderCancelled):
        services.uncount_sale(order_id=order_id)
        return
    day = localdate(event.paid_at.ToDatetime(UTC))
    services.count_sale(order_id=order_id, day=day, currency=event.currency, lines=event.lines)
