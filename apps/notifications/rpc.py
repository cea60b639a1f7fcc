"""The contract of notifications, served."""

from typing import Any

from apps.notifications import queries
from protos import notification_pb2 as pb
from protos.notification_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from severable.errors import uuid_of
from severable.rpc import serve


@serve(add_NotificationServiceServicer_to_server)
class NotificationServicer(NotificationServiceServicer):
    def ListForOrder(
        self, request: pb.ListForOrderRequest, context: Any
    ) -> pb.ListForOrderResponse:
        found = queries.about_order(uuid_of(request.order_id, "order_id"))
        return pb.ListForOrderResponse(
            notifications=[
                pb.Notification(id=str(n.id), kind=n.kind, state=n.state, subject=n.subject)
                for n in found
            ]
        )
