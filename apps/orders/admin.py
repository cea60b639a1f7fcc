"""Orders in the admin, each with its story, including the steps that have not run yet."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from apps.orders import queries, services
from apps.orders.models import Order, OrderLine, Parcel
from severable.admin import (
    Record,
    Rows,
    id_column,
    link,
    link_column,
    links_column,
    money_column,
    row_action,
    rows,
    short,
    state_column,
    timeline,
)

STATUSES = {
    Order.Status.PENDING: "info",
    Order.Status.PAID: "success",
    Order.Status.REJECTED: "danger",
    Order.Status.CANCELLED: "warning",
    Order.Status.SHIPPED: "primary",
}


def _ship(order: Order) -> None:
    services.ship(order_id=order.id)


def _cancel(order: Order) -> None:
    services.cancel(order_id=order.id)


class Lines(Rows):
    model = OrderLine
    related = ["order"]
    fields = readonly_fields = ["shown_product", "quantity", "shown_price"]

    shown_product = link_column("inventory.product", "sku", "product")
    shown_price = money_column("unit_price", "unit price", currency="order.currency")


@admin.register(Order)
class OrderAdmin(Record):
    icon = "shopping_cart"
    list_display = ["number", "shown_status", "customer", "shown_total", "reason", "created_at"]
    list_filter = ["status", "created_at"]
    search_fields = ["id", "user_id"]
    ordering = ["-created_at"]
    actions = ["ship", "cancel"]
    actions_detail = ["ship_one", "cancel_one"]
    inlines = [Lines]
    change_form_after_template = "severable/story.html"
    fields = [
        ("id", "shown_status"),
        ("customer_name", "shown_total"),
        ("reason", "detail"),
        ("created_at", "updated_at"),
        "links",
    ]

    ship, ship_one = row_action(_ship, "Ship", "shipped", icon="local_shipping")
    cancel, cancel_one = row_action(_cancel, "Cancel order", "cancelled", icon="cancel")

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **kwargs: Any
    ) -> HttpResponse:
        context["story"] = timeline(queries.timeline(kwargs["obj"]))
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    number = id_column("id", "order")
    shown_status = state_column("status", STATUSES)
    shown_total = money_column("total")
    customer = link_column("users.user", "user_id", "customer", "user {}".format)
    customer_name = link_column("users.user", "user_id", "customer", queries.customer_name)
    links = links_column(
        lambda order: [
            link("payments.payment", order.payment_id, "payment"),
            rows("inventory.reservation", "reservation", order_id=order.id),
            rows("orders.parcel", "parcel", order=order.id),
            rows("notifications.notification", "mails", order_id=order.id),
            rows("severable_saga.saga", "sagas", key=order.id),
            rows("severable_events.event", "events", stream=order.stream),
        ]
    )


@admin.register(Parcel)
class ParcelAdmin(Record):
    icon = "package_2"
    list_display = ["shown_order", "name", "address", "created_at", "shipped_at"]
    list_display_links = None
    list_filter = [("shipped_at", admin.EmptyFieldListFilter), "created_at"]
    search_fields = ["order"]
    ordering = ["-order_id"]
    fields = ["shown_order", "name", "address", "created_at", "shipped_at"]

    shown_order = link_column("orders.order", "order_id", "order", short)
