"""The public API of answers that need several contexts."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from google.protobuf.timestamp_pb2 import Timestamp
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.gateway import queries
from severable.api import caller_id, may
from severable.errors import NotFound


class OrderNotFound(NotFound):
    code = "order_not_found"


class TimestampField(serializers.DateTimeField):
    def to_representation(self, value: Timestamp) -> Any:  # type: ignore[override]
        return super().to_representation(value.ToDatetime())


class SummaryLineSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = serializers.IntegerField()


class SummaryOrderSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    status = serializers.CharField()
    currency = serializers.CharField()
    total = serializers.IntegerField()
    lines = SummaryLineSerializer(many=True)
    reason = serializers.CharField()
    created_at = TimestampField()
    updated_at = TimestampField()


class SummaryCustomerSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    email = serializers.EmailField()
    address = serializers.CharField()


class SummaryPaymentSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    method = serializers.CharField()
    status = serializers.CharField()


class SummaryProductSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    name = serializers.CharField()
    unit_price = serializers.IntegerField()
    currency = serializers.CharField()
    available = serializers.IntegerField()


class SummarySerializer(serializers.Serializer[Any]):
    order = SummaryOrderSerializer()
    customer = SummaryCustomerSerializer(allow_null=True)
    payment = SummaryPaymentSerializer(allow_null=True)
    products = SummaryProductSerializer(many=True, allow_null=True)
    missing = serializers.ListField(
        child=serializers.CharField(),
        help_text="The parts that are null because their context did not respond",
    )


class OrderSummary(APIView):
    @extend_schema(responses=SummarySerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        """An order with its customer, payment and products."""
        order = queries.order(order_id)
        if order.user_id != caller_id(request) and not may(request.user, "admin:orders"):
            raise OrderNotFound(f"There is no order {order_id}.")
        return Response(SummarySerializer(queries.summary(order)).data)
