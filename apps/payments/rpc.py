"""The servicer of the contract of payments."""

from typing import Any

from apps.payments import queries, services
from apps.payments.models import Payment
from protos import payment_pb2 as pb
from protos.payment_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server
from severable.errors import Invalid, OutcomeUnknown, uuid_of
from severable.rpc import serve


@serve(add_PaymentServiceServicer_to_server)
class PaymentServicer(PaymentServiceServicer):
    def GetPayment(self, request: pb.GetPaymentRequest, context: Any) -> pb.Payment:
        return _message(queries.payment(uuid_of(request.payment_id, "payment_id")))

    def Pay(self, request: pb.PayRequest, context: Any) -> pb.Payment:
        if request.method.method not in Payment.Method.values:
            raise Invalid(f"There is no payment method {request.method.method!r}.", field="method")
        if request.amount < 0:
            raise Invalid("The amount is negative.", field="amount")
        payment = services.pay(
            order_id=uuid_of(request.order_id, "order_id"),
            user_id=request.user_id,
            amount=request.amount,
            currency=request.currency,
            method=request.method.method,
            token=request.method.token,
        )
        return _message(payment)

    def Refund(self, request: pb.RefundRequest, context: Any) -> pb.Payment:
        payment = services.refund(order_id=uuid_of(request.order_id, "order_id"))
        if payment.status == Payment.Status.REFUNDING:
            raise OutcomeUnknown("the refund is in progress")
        return _message(payment)

    def Close(self, request: pb.CloseRequest, context: Any) -> pb.Payment:
        return _message(services.close(order_id=uuid_of(request.order_id, "order_id")))


def _message(payment: Payment) -> pb.Payment:
    return pb.Payment(
        id=str(payment.id),
        order_id=str(payment.order_id),
        user_id=payment.user_id,
        amount=payment.amount,
        currency=payment.currency,
        method=payment.method,
        status=payment.status,
    )
