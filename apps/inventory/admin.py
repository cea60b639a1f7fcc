"""Inventory in the admin: products and their stock, reservations, and daily sales."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget
from uuid_utils.compat import uuid7

from apps.inventory import queries, services
from apps.inventory.models import DailySales, Product, Reservation, ReservedLine, Restock, Sale
from severable.admin import (
    ContextAdmin,
    Record,
    Rows,
    choice_filter,
    id_column,
    link_column,
    links_column,
    money,
    money_column,
    rows,
    short,
    state_column,
)

STATES = {
    Reservation.State.HELD: "info",
    Reservation.State.SOLD: "success",
    Reservation.State.RELEASED: "warning",
    Reservation.State.EXPIRED: "danger",
}


class ProductForm(forms.ModelForm):
    """A form for a product, with its price in major units."""

    price = forms.DecimalField(
        min_value=0, max_digits=12, decimal_places=2, widget=UnfoldAdminDecimalFieldWidget
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["price"].initial = Decimal(self.instance.unit_price).scaleb(-2)


class RestockForm(BaseDialogForm):
    """A form for the quantity to add. It is added once for a key."""

    quantity = forms.IntegerField(
        min_value=1, max_value=1_000_000, widget=UnfoldAdminIntegerFieldWidget
    )
    key = forms.UUIDField(initial=uuid7, widget=forms.HiddenInput)


@admin.register(Product)
class ProductAdmin(ContextAdmin):
    icon = "inventory_2"
    form = ProductForm
    list_display = ["sku", "name", "shown_price", "available", "held", "updated_at"]
    list_filter = ["currency", "updated_at"]
    search_fields = ["sku", "name"]
    actions_detail = ["restock"]
    fields = ["sku", "name", "description", ("price", "currency"), ("available", "held"), "links"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        on_sale = ["sku", "currency", "available"] if obj else []
        return [*on_sale, "held", "links"]

    def save_model(self, request: HttpRequest, obj: Product, form: Any, change: bool) -> None:
        services.add_product(
            sku=obj.sku,
            name=obj.name,
            description=obj.description,
            unit_price=int(form.cleaned_data["price"] * 100),
            currency=obj.currency,
            available=obj.available,
        )

    @action(
        description="Restock",
        icon="add_box",
        permissions=["act"],
        dialog={
            "title": "Restock",
            "description": "Adds to the available stock.",
            "form_class": RestockForm,
            "form_submit_text": "Restock",
        },
    )
    def restock(self, request: HttpRequest, form: RestockForm, object_id: str) -> HttpResponse:
        def add(product: Product) -> None:
            services.restock(sku=product.sku, **wanted)

        wanted = {name: form.cleaned_data[name] for name in ("key", "quantity")}
        return self.carry_out_one(request, object_id, add, "restocked")

    shown_price = money_column("unit_price", "price")
    links = links_column(
        lambda product: [
            rows("inventory.restock", "restocks", product=product.sku),
            rows("severable_events.event", "events", stream=product.stream),
        ]
    )


class Lines(Rows):
    model = ReservedLine
    related = ["reservation"]
    fields = readonly_fields = ["shown_product", "quantity", "shown_price"]

    shown_product = link_column("inventory.product", "product_id", "product")
    shown_price = money_column("unit_price", "unit price")


@admin.register(Reservation)
class ReservationAdmin(Record):
    icon = "bookmark"
    list_display = ["number", "shown_state", "created_at", "expires_at"]
    list_filter = ["state", "created_at"]
    search_fields = ["order_id"]
    ordering = ["-order_id"]
    inlines = [Lines]
    fields = [("shown_order", "shown_state"), ("created_at", "expires_at"), "shown_total", "links"]

    number = id_column("order_id", "of order")
    shown_order = link_column("orders.order", "order_id", "order")
    shown_state = state_column("state", STATES)
    shown_total = money_column("total")
    links = links_column(
        lambda reservation: [rows("severable_events.event", "events", stream=reservation.stream)]
    )


@admin.register(Restock)
class RestockAdmin(Record):
    icon = "add_box"
    list_display = ["number", "shown_product", "quantity", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["product", "key"]
    ordering = ["-created_at"]
    fields = ["key", "shown_product", "quantity", "created_at"]

    number = id_column("key", "restock")
    shown_product = link_column("inventory.product", "product_id", "product")


def _skus() -> Iterable[str]:
    return Product.objects.values_list("sku", flat=True)


@admin.register(DailySales)
class DailySalesAdmin(Record):
    icon = "bar_chart"
    list_display = ["day", "shown_product", "units", "shown_revenue"]
    list_filter = ["day", choice_filter("sku", _skus, "product")]
    search_fields = ["sku"]
    ordering = ["-day", "sku"]
    list_before_template = "severable/totals.html"
    fields = [("day", "shown_product"), ("units", "shown_revenue"), "links"]

    shown_product = link_column("inventory.product", "sku", "product")
    shown_revenue = money_column("revenue")
    links = links_column(lambda daily: [rows("inventory.sale", "orders", daily=daily.pk)])

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: Any = super().changelist_view(request, extra_context)
        listed = getattr(response, "context_data", {}).get("cl")
        if listed:
            totals = queries.totals(listed.queryset)
            response.context_data["totals"] = {
                "headers": ["Units", "Revenue"],
                "rows": [[units, money(revenue, currency)] for currency, units, revenue in totals],
            }
        return response


@admin.register(Sale)
class SaleAdmin(Record):
    icon = "receipt"
    list_display = ["shown_order", "daily", "units", "shown_revenue"]
    list_display_links = None
    list_select_related = ["daily"]
    search_fields = ["order_id", "daily"]
    ordering = ["-id"]
    fields = ["shown_order", "daily", "units", "shown_revenue"]

    shown_order = link_column("orders.order", "order_id", "order", short)
    shown_revenue = money_column("revenue", currency="daily.currency")
