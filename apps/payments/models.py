"""Payments, the ledger, and the charges of the built-in test provider."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from uuid_utils.compat import uuid7

from severable.jobs import Job


class Payment(models.Model):
    """The payment of one order. Once its refund has begun it can never be paid."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PAID = "paid"
        DECLINED = "declined"
        REFUNDING = "refunding"
        REFUNDED = "refunded"

    class Method(models.TextChoices):
        CARD = "card"
        CREDIT = "credit"

    id = models.UUIDField(primary_key=True, default=uuid7)
    order_id = models.UUIDField(unique=True)
    user_id = models.IntegerField(db_index=True)
    amount = models.BigIntegerField(help_text="In minor units")
    currency = models.CharField(max_length=3, blank=True)
    method = models.CharField(max_length=10, choices=Method.choices, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    reason = models.CharField(max_length=200, blank=True)
    closed_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on staff cannot refund it: the order is shipped"
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="payments_payment_amount")
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} for {self.order_id}"

    @property
    def stream(self) -> str:
        return f"payment-{self.order_id}"


class Refund(Job):
    """The refund of a payment, retried until it succeeds."""

    payment = models.OneToOneField(
        Payment, on_delete=models.CASCADE, primary_key=True, related_name="refund"
    )

    max_attempts: ClassVar[int | None] = None

    def __str__(self) -> str:
        return f"refund of {self.payment_id}"

    @property
    def queue(self) -> str:
        return "payments"


class LedgerEntry(models.Model):
    """One of the two entries of a movement of money. Their sum is 0."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="entries")
    account = models.CharField(max_length=50, db_index=True)
    amount = models.BigIntegerField(help_text="Signed, in minor units")
    currency = models.CharField(max_length=3)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.account} {self.amount}"


class TestCharge(models.Model):
    """A charge of the test provider. A real provider has its own database."""

    class State(models.TextChoices):
        CHARGED = "charged"
        DECLINED = "declined"
        REFUNDED = "refunded"

    __test__ = False  # its name matches pytest's pattern, but it is no test

    key = models.UUIDField(primary_key=True)
    amount = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.state} {self.amount}"
