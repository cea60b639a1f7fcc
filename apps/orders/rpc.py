"""The servicer of the contract of orders."""

from typing import Any

from apps.orders import queries
from protos import order_pb2 as pb
from protos.order_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from severable.errors import uuid_of
from severable.rpc import serve


@serve(add_OrderServiceServicer_to_server)
class OrderServicer(OrderServiceServicer):
    def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.Order:
        order = queries.order(uuid_of(request.order_id, "order_id"))
        message = pb.Order(
            id=str(order.id),
            user_id=order.user_id,
            status=order.status,
            currency=order.currency,
            total=order.total or 0,
            lines=queries.lines(order),
            payment_id=str(order.payment_id or ""),
            reason=order.reason,
        )
        message.created_at.FromDatetime(order.created_at)
        message.updated_at.FromDatetime(order.updated_at)
        return message
