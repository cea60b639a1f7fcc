"""Orders and their legal transitions, and the parcels of paid orders."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.utils import timezone
from uuid_utils.compat import uuid7

from severable.errors import Conflict


class IllegalTransition(Conflict):
    code = "illegal_transition"

    def __init__(self, status: str, to: str) -> None:
        super().__init__(f"An order that is {status} cannot become {to}.")
        self.status = status


def stream_of(order_id: UUID | str) -> str:
    """Return the name of the stream with an order's events."""
    return f"order-{order_id}"


class Order(models.Model):
    """A customer's order."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PAID = "paid"
        REJECTED = "rejected"
        CANCELLED = "cancelled"
        SHIPPED = "shipped"

    LEGAL = {
        Status.PENDING: {Status.PAID, Status.REJECTED, Status.CANCELLED},
        Status.PAID: {Status.CANCELLED, Status.SHIPPED},
    }

    id = models.UUIDField(primary_key=True, default=uuid7)
    user_id = models.IntegerField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    currency = models.CharField(max_length=3, blank=True)
    total = models.BigIntegerField(null=True, blank=True, help_text="In minor units")
    payment_id = models.UUIDField(null=True, blank=True)
    reason = models.CharField(max_length=50, blank=True, help_text="Why it was rejected")
    detail = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["user_id", "-created_at", "-id"], name="orders_order_of_user"),
            models.Index(fields=["-created_at", "-id"], name="orders_order_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(status="paid") | Q(total__gte=0, payment_id__isnull=False),
                name="orders_order_paid",
            )
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def stream(self) -> str:
        return stream_of(self.id)

    @classmethod
    def transition(cls, order_id: UUID, to: str, **columns: Any) -> None:
        """Change an order's status, and other columns, in one statement, without reading it first.
        Raises IllegalTransition."""
        legal = [status for status, targets in cls.LEGAL.items() if to in targets]
        order = cls.objects.filter(id=order_id)
        changes = {"updated_at": timezone.now(), **columns}
        if not order.filter(status__in=legal).update(status=to, **changes):
            raise IllegalTransition(order.values_list("status", flat=True).get(), to)

    def become(self, status: str) -> None:
        """Change the status of a locked order. Raises IllegalTransition."""
        if status not in self.LEGAL.get(self.Status(self.status), set()):
            raise IllegalTransition(self.status, status)
        self.status = status


class OrderLine(models.Model):
    """A quantity of one product. The price is set when the order is paid or rejected."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    sku = models.CharField(max_length=40)
    quantity = models.PositiveIntegerField()
    unit_price = models.BigIntegerField(null=True, blank=True, help_text="In minor units")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["order", "sku"], name="orders_line_once")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku}"


class Parcel(models.Model):
    """The parcel of a paid order, for the address that the customer had at the payment."""

    order = models.OneToOneField(
        Order, on_delete=models.CASCADE, primary_key=True, related_name="parcel"
    )
    name = models.CharField(max_length=200)
    address = models.TextField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    shipped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"parcel for {self.order_id}"
