"""Orders' subscriptions to events."""

from uuid import UUID

from apps.orders import queries, services
from apps.orders.models import Order
from protos.order_pb2 import OrderPaid
from protos.payment_pb2 import PaymentRefunded
from protos.user_pb2 import GetUserRequest, UserResponse
from protos.user_pb2_grpc import UserServiceStub
from severable.events import on
from severable.jobs import NotYet
from severable.rpc import stub

UNDECIDED = 5.0  # seconds


def customer(event: OrderPaid) -> UserResponse:
    return stub(UserServiceStub).GetUser(GetUserRequest(user_id=event.user_id))


@on(OrderPaid, prefetch=customer, batch=True)
def start_shipping(event: OrderPaid, customer: UserResponse) -> None:
    services.pack(order_id=UUID(event.order_id), name=customer.name, address=customer.address)


@on(PaymentRefunded)
def cancel_refunded(event: PaymentRefunded) -> None:
    status = queries.locked(UUID(event.order_id)).status
    if status == Order.Status.PENDING:
        # It may be about to be paid with this payment, or to be compensated.
        raise NotYet("the order is not decided yet", UNDECIDED)
    if status == Order.Status.PAID:
        services.cancel(order_id=UUID(event.order_id))
