"""Payments in the admin: the money of each order, where it went, and giving it back."""

from django.contrib import admin

from apps.payments import services
from apps.payments.models import LedgerEntry, Payment, Refund, TestCharge
from severable.admin import (
    JobAdmin,
    Record,
    Rows,
    joined,
    label,
    link,
    money,
    row_action,
    rows,
    short,
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

    @admin.display(description="amount")
    def shown_amount(self, entry: LedgerEntry) -> str:
        return money(entry.amount, entry.currency)


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

    refund, refund_one = row_action(_refund, "Refund", "taken back", icon="undo")

    @admin.display(description="payment", ordering="id")
    def number(self, payment: Payment) -> str:
        return short(payment.id)

    @admin.display(description="status", ordering="status")
    def shown_status(self, payment: Payment) -> str:
        return label(payment.status, STATUSES)

    @admin.display(description="amount", ordering="amount")
    def shown_amount(self, payment: Payment) -> str:
        return money(payment.amount, payment.currency)

    @admin.display(description="order", ordering="order_id")
    def shown_order(self, payment: Payment) -> str:
        return link("orders.order", payment.order_id, short(payment.order_id))

    @admin.display(description="customer", ordering="user_id")
    def customer(self, payment: Payment) -> str:
        return link("users.user", payment.user_id, f"user {payment.user_id}")

    @admin.display(description="see also")
    def links(self, payment: Payment) -> str:
        return joined(
            rows("payments.refund", "refund", payment=payment.id),
            rows("payments.testcharge", "the test provider's charge", key=payment.id),
            rows("severable_events.event", "events", stream=payment.stream),
        )


@admin.register(Refund)
class RefundAdmin(JobAdmin):
    icon = "undo"
    list_display = ["shown_payment", "shown_state", "attempts", "due_at", "error"]
    list_display_links = None
    search_fields = ["payment"]
    fields = ["shown_payment", "shown_state", "attempts", "due_at", "error"]

    @admin.display(description="payment", ordering="payment")
    def shown_payment(self, refund: Refund) -> str:
        return link("payments.payment", refund.payment_id, short(refund.payment_id))


@admin.register(LedgerEntry)
class LedgerEntryAdmin(Record):
    icon = "account_balance"
    list_display = ["id", "account", "shown_amount", "shown_payment", "created_at"]
    list_filter = ["created_at"]
    search_fields = ["account", "payment"]
    ordering = ["-id"]
    fields = ["account", "shown_amount", "shown_payment", "created_at"]

    @admin.display(description="amount", ordering="amount")
    def shown_amount(self, entry: LedgerEntry) -> str:
        return money(entry.amount, entry.currency)

    @admin.display(description="payment", ordering="payment")
    def shown_payment(self, entry: LedgerEntry) -> str:
        return link("payments.payment", entry.payment_id, short(entry.payment_id))


@admin.register(TestCharge)
class TestChargeAdmin(Record):
    icon = "science"
    list_display = ["number", "shown_state", "shown_amount", "created_at"]
    list_filter = ["state", "created_at"]
    search_fields = ["key"]
    ordering = ["-key"]
    fields = ["shown_payment", "shown_state", "shown_amount", "created_at"]

    @admin.display(description="charge", ordering="key")
    def number(self, charge: TestCharge) -> str:
        return short(charge.key)

    @admin.display(description="payment")
    def shown_payment(self, charge: TestCharge) -> str:
        return link("payments.payment", charge.key)

    @admin.display(description="state", ordering="state")
    def shown_state(self, charge: TestCharge) -> str:
        return label(charge.state, CHARGES)

    @admin.display(description="amount", ordering="amount")
    def shown_amount(self, charge: TestCharge) -> str:
        return money(charge.amount, "")
