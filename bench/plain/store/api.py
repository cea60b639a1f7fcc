"""The API of the plain monolith."""

from __future__ import annotations

from typing import Any

from rest_framework import generics, serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.plain.store import services
from bench.plain.store.models import Order, OrderLine, Product


class ProductSerializer(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ["sku", "name", "description", "unit_price", "currency", "stock"]


class ProductDetail(generics.RetrieveAPIView[Product]):
    queryset = Product.objects.all()
    serializer_class = ProductSerializer
    lookup_field = "sku"


class ItemSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField(max_length=40)
    quantity = serializers.IntegerField(min_value=1, max_value=1000)


class PaymentSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(["card"])
    token = serializers.CharField(max_length=100)


class PlaceSerializer(serializers.Serializer[Any]):
    items = ItemSerializer(many=True, allow_empty=False)
    payment = PaymentSerializer()


class LineSerializer(serializers.ModelSerializer[OrderLine]):
    sku = serializers.CharField(source="product.sku")

    class Meta:
        model = OrderLine
        fields = ["sku", "quantity", "unit_price"]


class OrderSerializer(serializers.ModelSerializer[Order]):
    lines = LineSerializer(many=True)

    class Meta:
        model = Order
        fields = ["id", "status", "user_id", "currency", "total", "lines", "created_at"]


class Orders(APIView):
    """Place an order."""

    def post(self, request: Request) -> Response:
        given = PlaceSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        items = given.validated_data["items"]
        wanted = {item["sku"]: item["quantity"] for item in items}
        if len(wanted) < len(items):
            raise ValidationError({"items": "Each product may be there once."})
        return self._place(request, wanted, given.validated_data["payment"]["token"])

    def _place(self, request: Request, wanted: dict[str, int], token: str) -> Response:
        try:
            order = services.place(request.user, wanted, token)
        except services.OutOfStock:
            return Response({"code": "insufficient_stock"}, status.HTTP_409_CONFLICT)
        except services.Declined:
            return Response({"code": "payment_declined"}, status.HTTP_402_PAYMENT_REQUIRED)
        found = Order.objects.prefetch_related("lines__product").get(id=order.id)
        return Response(OrderSerializer(found).data, status.HTTP_201_CREATED)
