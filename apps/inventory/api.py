"""The public API of inventory."""

from typing import Any

import django_filters
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.inventory import queries, services
from apps.inventory.models import Product
from severable.api import (
    Amount,
    CheckLimit,
    Idempotent,
    Ordering,
    ReadLimit,
    Search,
    permitted,
    validated,
)


class ProductSerializer(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ["sku", "name", "description", "unit_price", "currency", "available"]


class Skus(django_filters.BaseInFilter, django_filters.CharFilter):
    """Several SKUs, with commas between them."""


class ProductFilter(django_filters.FilterSet):
    sku = Skus("sku", label="SKUs, with commas between them")
    min_price = Amount("unit_price", "gte")
    max_price = Amount("unit_price", "lte")
    in_stock = django_filters.BooleanFilter(
        "available", "gt", method="only_in_stock", label="In stock"
    )

    class Meta:
        model = Product
        fields = ["currency"]

    def only_in_stock(self, products: Any, name: str, wanted: bool) -> Any:
        return products.filter(available__gt=0) if wanted else products.filter(available=0)


class WantedSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField(max_length=40)
    quantity = serializers.IntegerField(min_value=1, max_value=1000)


class CheckSerializer(serializers.Serializer[Any]):
    items = WantedSerializer(many=True, allow_empty=False, max_length=100)  # type: ignore[call-arg]


class StockSerializer(WantedSerializer):
    available = serializers.IntegerField()
    enough = serializers.BooleanField()


class StockListSerializer(serializers.Serializer[Any]):
    enough = serializers.BooleanField(help_text="For all items")
    items = StockSerializer(many=True)


class RestockSerializer(serializers.Serializer[Any]):
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000)


class Products(generics.ListAPIView[Product]):
    """List products: search, filters, ordering, pages."""

    permission_classes = [AllowAny]
    throttle_classes = [ReadLimit]
    queryset = queries.products()
    serializer_class = ProductSerializer
    filter_backends = [DjangoFilterBackend, Search, Ordering]
    filterset_class = ProductFilter
    search_fields = ["sku", "name", "description"]
    ordering_fields = ["sku", "name", "unit_price", "available"]
    ordering = ["sku"]


class OneProduct(APIView):
    permission_classes = [AllowAny]

    @extend_schema(responses=ProductSerializer)
    def get(self, request: Request, sku: str) -> Response:
        """Return a product."""
        return Response(ProductSerializer(queries.product(sku)).data)


class Check(APIView):
    permission_classes = [AllowAny]
    throttle_classes = [CheckLimit]

    @extend_schema(request=CheckSerializer, responses=StockListSerializer)
    def post(self, request: Request) -> Response:
        """Check whether there is enough stock. Nothing is reserved."""
        items = validated(CheckSerializer, request)["items"]
        stock = queries.stock([(item["sku"], item["quantity"]) for item in items])
        return Response({"enough": all(line["enough"] for line in stock), "items": stock})


class RestockProduct(Idempotent):
    permission_classes = [permitted("inventory:write")]

    @extend_schema(request=RestockSerializer, responses=ProductSerializer)
    def post(self, request: Request, sku: str) -> Response:
        """Add to a product's stock."""
        data = validated(RestockSerializer, request)
        product = services.restock(key=self.operation_id, sku=sku, **data)
        return Response(ProductSerializer(product).data)
