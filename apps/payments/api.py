"""The public API of payments."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.payments import queries, services
from apps.payments.models import Payment
from severable.api import Idempotent, caller_id, may, permitted

REFUND = "payments:refund"


class PaymentSerializer(serializers.ModelSerializer[Payment]):
    class Meta:
        model = Payment
        fields = [
            "id",
            "order_id",
            "user_id",
            "amount",
            "currency",
            "method",
            "status",
            "reason",
            "created_at",
            "updated_at",
        ]


class OnePayment(APIView):
    @extend_schema(responses=PaymentSerializer)
    def get(self, request: Request, payment_id: UUID) -> Response:
        """Return one of the caller's payments, or any with the permission to refund."""
        payment = queries.payment(payment_id)
        if payment.user_id != caller_id(request) and not may(request.user, REFUND):
            raise queries.PaymentNotFound(payment_id)
        return Response(PaymentSerializer(payment).data)


class RefundPayment(Idempotent):
    permission_classes = [permitted(REFUND)]

    @extend_schema(request=None, responses={200: PaymentSerializer, 202: PaymentSerializer})
    def post(self, request: Request, payment_id: UUID) -> Response:
        """Refund a payment. The response is 202 if the refund is still in progress."""
        payment = services.refund_payment(payment_id=payment_id)
        in_flight = payment.status == Payment.Status.REFUNDING
        return Response(
            PaymentSerializer(payment).data,
            status.HTTP_202_ACCEPTED if in_flight else status.HTTP_200_OK,
        )
