"""Payments in the admin, with their ledger entries and refunds."""

from django.contrib import admin

from apps.payments import services
from apps.payments.models import LedgerEntry, Payment, Refund, TestCharge
from severable.admin import (
    JobAdmin,
    Record,
    Rows,
    id_column,
    link_column,
    links_column,
    money_column,
    row_action,
    rows,
    short,
    state_column,
)

STATUSES = {
    Payment.Status.PENDING: "info",
    Payment.Status.PAID: "success",
    Payment.Status.DECLINED: "danger",
    Payment.Status.REFUNDING: "warning",
    Payment.Status.REFUNDED: "warning",
}
CHARGES = {
    TestCharge.State.CHARGED: "success",
    TestCharge.State.DECLINED: "danger",
    TestCharge.State.REFUNDED: "warning",
}


def _refund(payment: Payment) -> None:
    services.refund_payment(payment_id=payment.id)


class Entries(Rows):
    model = LedgerEntry
    fields = readonly_fields = ["account", "shown_amount", "created_at"]

    shown_amount = money_column("amount")


@admin.register(Payment)
class PaymentAdmin(Record):
    icon = "payments"
    list_display = ["number", "shown_status", "shown_amount", "method"]
    list_display += ["shown_order", "customer", "created_at"]
    list_filter = ["status", "method", "created_at"]
    search_fields = ["id", "order_id", "user_id"]
    ordering = ["-id"]
    actions = ["refund"]
    actions_detail = ["refund_one"]
    inlines = [Entries]
    fields = [
        ("id", "shown_status"),
        ("shown_amount", "method"),
        ("shown_order", "customer"),
        ("created_at", "updated_at"),
        "reason",
        "links",
    ]

    refund, refund_one = row_action(_refund, "Refund", "refunded", icon="undo")

    number = id_column("id", "payment")
    shown_status = state_column("status", STATUSES)
    shown_amount = money_column("amount")
    shown_order = link_column("orders.order", "order_id", "order", short)
    customer = link_column("users.user", "user_id", "customer", "user {}".format)
    links = links_column(
        lambda payment: [
            rows("payments.refund", "refund", payment=payment.id),
            rows("payments.testcharge", "the test provider's charge", key=payment.id),
            rows("severable_events.event", "events", stream=payment.stream),
        ]
    )


@admin.register(Refund)
class RefundAdmin(JobAdmin):
    icon = "undo"
    list_display = ["shown_payment", "shown_state", "attempts", "due_at", "error"]
    list_display_links = None
    search_fields = ["payment"]
    fields = ["shown_payment", "shown_state", "attempts", "due_at", "error"]

    shown_payment = link_column("payments.payment", "payment_id", "payment", short)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(Record):
    icon = "account_balance"
    list_display = ["id", "account", "shown_amount", "shown_payment", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["account", "payment"]
    ordering = ["-id"]
    fields = ["account", "shown_amount", "shown_payment", "created_at"]

    shown_amount = money_column("amount")
    shown_payment = link_column("payments.payment", "payment_id", "payment", short)


@admin.register(TestCharge)
class TestChargeAdmin(Record):
    icon = "science"
    list_display = ["number", "shown_state", "shown_amount", "created_at"]
    list_filter = ["state", "created_at"]
    search_fields = ["key"]
    ordering = ["-key"]
    fields = ["shown_payment", "shown_state", "shown_amount", "created_at"]

    number = id_column("key", "charge")
    shown_payment = link_column("payments.payment", "key", "payment")
    shown_state = state_column("state", CHARGES)
    shown_amount = money_column("amount", currency="")
