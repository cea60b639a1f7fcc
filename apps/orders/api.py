"""The public API of orders."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers, status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.orders import queries, services
from apps.orders.models import Order
from severable.api import (
    PROBLEM,
    Idempotent,
    NewestFirst,
    ProblemSerializer,
    RateLimit,
    ReadLimit,
    caller_id,
    domain_error_problem,
    may,
    permitted,
    validated,
)
from severable.errors import DomainError
from severable.rpc import deadline

ADMIN = "admin:orders"
SHIP = "orders:ship"
WAIT_SECONDS = 10.0


class LineSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = serializers.IntegerField(allow_null=True)


class OrderSerializer(serializers.ModelSerializer[Order]):
    lines = LineSerializer(many=True)

    class Meta:
        model = Order
        fields = [
            "id",
            "status",
            "user_id",
            "currency",
            "total",
            "lines",
            "payment_id",
            "reason",
            "created_at",
            "updated_at",
        ]


class ItemSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField(max_length=40)
    quantity = serializers.IntegerField(min_value=1, max_value=1000)


class PaymentSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(["card", "credit"])
    token = serializers.CharField(max_length=200, required=False)

    def validate(self, data: dict[str, str]) -> dict[str, str]:
        if data["method"] == "card" and "token" not in data:
            raise serializers.ValidationError({"token": "A card needs a token."}, code="required")
        return data


class NewOrderSerializer(serializers.Serializer[Any]):
    items = ItemSerializer(many=True, allow_empty=False, max_length=100)  # type: ignore[call-arg]
    payment = PaymentSerializer()

    def validate_items(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        seen: set[str] = set()
        for index, item in enumerate(items):
            if item["sku"] in seen:
                message = {index: {"sku": [f"{item['sku']!r} is in this order twice."]}}
                raise serializers.ValidationError(message)  # type: ignore[arg-type]
            seen.add(item["sku"])
        return items


class NewOrderForSerializer(NewOrderSerializer):
    user_id = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class TimelineEntrySerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField(allow_null=True)
    what = serializers.CharField()
    state = serializers.CharField()
    detail = serializers.CharField(allow_blank=True)


PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="RFC 7240: `respond-async` responds 202 at once, `wait=5` after at most 5 s.",
)
PLACED = {201: OrderSerializer, 202: OrderSerializer, (402, PROBLEM): ProblemSerializer}


def visible(request: Request, order_id: UUID) -> Order:
    """Return an order that the caller may see: their own, or any for staff of orders. Raises
    OrderNotFound."""
    order = queries.order(order_id)
    if order.user_id != caller_id(request) and not _staff(request):
        raise queries.OrderNotFound(order_id)
    return order


def cancellable(request: Request, order_id: UUID) -> Order:
    """Return an order that the caller may cancel: their own, or any with `admin:orders`."""
    order = visible(request, order_id)
    if order.user_id != caller_id(request) and not may(request.user, ADMIN):
        raise PermissionDenied
    return order


def _staff(request: Request) -> bool:
    return may(request.user, ADMIN) or may(request.user, SHIP)


def _preferred(request: Request) -> tuple[bool, float]:
    """Return whether to wait for the outcome, and for how many seconds (RFC 7240)."""
    preferences: dict[str, str] = {}
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip())
    wait = preferences.get("wait", "")
    seconds = min(float(wait), WAIT_SECONDS) if wait.isdecimal() else WAIT_SECONDS
    return "respond-async" not in preferences, seconds


def _place(view: Idempotent, request: Request, user_id: int, data: dict[str, Any]) -> Response:
    wait, seconds = _preferred(request)
    with deadline.within(seconds):
        order, error = services.place(
            order_id=view.operation_id,
            user_id=user_id,
            wanted=[(item["sku"], item["quantity"]) for item in data["items"]],
            method=data["payment"]["method"],
            token=data["payment"].get("token", ""),
            wait=wait,
        )
    location = {"Location": f"/api/orders/{order.id}"}
    if error:
        return _rejected(order, error, location)
    decided = order.status != Order.Status.PENDING
    return Response(
        OrderSerializer(order).data,
        status.HTTP_201_CREATED if decided else status.HTTP_202_ACCEPTED,
        headers=location,
    )


def _rejected(order: Order, error: DomainError, headers: dict[str, str]) -> Response:
    body = domain_error_problem(error, order_id=str(order.id))
    return Response(body, body["status"], headers=headers, content_type=PROBLEM)


class OrderLimit(RateLimit):
    """The limit on orders that a user places."""

    name, methods = "orders", ("POST",)


class Orders(Idempotent, generics.ListAPIView[Order]):
    throttle_classes = [OrderLimit, ReadLimit]
    pagination_class = NewestFirst
    filterset_fields = ["status"]
    queryset = Order.objects.none()

    def get_serializer_class(self) -> Any:
        return NewOrderSerializer if self.request.method == "POST" else OrderSerializer

    def get_queryset(self) -> Any:
        return queries.orders(caller_id(self.request))

    @extend_schema(request=NewOrderSerializer, responses=PLACED, parameters=[PREFER])
    def post(self, request: Request) -> Response:
        """Place an order. The response is 202 if its outcome is not known after the wait."""
        return _place(self, request, caller_id(request), validated(NewOrderSerializer, request))


class OrdersFor(Idempotent):
    permission_classes = [permitted(ADMIN)]
    throttle_classes = [OrderLimit]

    @extend_schema(request=NewOrderForSerializer, responses=PLACED, parameters=[PREFER])
    def post(self, request: Request) -> Response:
        """Place an order for a customer."""
        data = validated(NewOrderForSerializer, request)
        return _place(self, request, data["user_id"], data)


class OneOrder(APIView):
    @extend_schema(responses=OrderSerializer)
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return an order."""
        return Response(OrderSerializer(visible(request, order_id)).data)


class Cancel(Idempotent):
    @extend_schema(request=None, responses=OrderSerializer)
    def post(self, request: Request, order_id: UUID) -> Response:
        """Cancel an order that has not been shipped, and refund its payment."""
        cancellable(request, order_id)
        return Response(OrderSerializer(services.cancel(order_id=order_id)).data)


class Ship(Idempotent):
    permission_classes = [permitted(SHIP)]

    @extend_schema(request=None, responses=OrderSerializer)
    def post(self, request: Request, order_id: UUID) -> Response:
        """Ship a paid order."""
        return Response(OrderSerializer(services.ship(order_id=order_id)).data)


class Timeline(APIView):
    @extend_schema(responses=TimelineEntrySerializer(many=True))
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return the events and steps of an order, including the steps that have not run yet."""
        order = visible(request, order_id)
        entries = queries.timeline(order, internals=_staff(request))
        return Response(TimelineEntrySerializer(entries, many=True).data)
