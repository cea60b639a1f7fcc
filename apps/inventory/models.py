"""Products, their stock, and its reservations for orders."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class Product(models.Model):
    """A product. `available` is the stock that can be ordered, `held` is reserved for orders."""

    sku = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    unit_price = models.BigIntegerField(help_text="In minor units")
    currency = models.CharField(max_length=3, default="EUR")
    available = models.IntegerField(default=0)
    held = models.IntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    MAX_STOCK = 2**31 - 1

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(condition=Q(available__gte=0), name="inventory_available"),
            models.CheckConstraint(condition=Q(held__gte=0), name="inventory_held"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="inventory_price"),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    @property
    def stream(self) -> str:
        return f"product-{self.sku}"


class Reservation(models.Model):
    """The stock that is reserved for an order. RELEASED is final. An EXPIRED reservation can be
    sold if there is stock, or released. Neither can be reserved again."""

    class State(models.TextChoices):
        HELD = "held"
        SOLD = "sold"
        RELEASED = "released"
        EXPIRED = "expired"

    order_id = models.UUIDField(primary_key=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.HELD)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["expires_at"], condition=Q(state="held"), name="inventory_reservation_due"
            )
        ]

    def __str__(self) -> str:
        return str(self.order_id)

    @property
    def stream(self) -> str:
        return f"reservation-{self.order_id}"

    @property
    def currency(self) -> str:
        """The currency of all lines, or "" if there are none."""
        return next((line.currency for line in self.lines.all()), "")

    @property
    def total(self) -> int:
        return sum(line.quantity * line.unit_price for line in self.lines.all())


class ReservedLine(models.Model):
    """A product in a reservation, at the price of the order."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()
    unit_price = models.BigIntegerField(help_text="In minor units")
    currency = models.CharField(max_length=3)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["reservation", "product"], name="inventory_line_once")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_id}"


class Restock(models.Model):
    """Stock that was added to a product. It is added once for a key."""

    key = models.UUIDField(primary_key=True)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="restocks")
    quantity = models.PositiveIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_id}"


class DailySales(models.Model):
    """The sales of a product on a day: a read model of the events of orders."""

    day = models.DateField()
    sku = models.CharField("product", max_length=40)
    currency = models.CharField(max_length=3)
    units = models.BigIntegerField(default=0)
    revenue = models.BigIntegerField(default=0, help_text="In minor units")

    class Meta:
        ordering = ["-day", "sku"]
        verbose_name_plural = "daily sales"
        constraints = [
            models.UniqueConstraint(fields=["day", "sku", "currency"], name="inventory_daily_once")
        ]

    def __str__(self) -> str:
        return f"{self.sku} on {self.day}"


class Sale(models.Model):
    """The part of an order in the daily sales of a product. It keeps an event that is handled
    again from being counted again."""

    order_id = models.UUIDField()
    daily = models.ForeignKey(
        DailySales, on_delete=models.CASCADE, related_name="sales", verbose_name="daily sales"
    )
    units = models.PositiveIntegerField()
    revenue = models.BigIntegerField(help_text="In minor units")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["order_id", "daily"], name="inventory_sale_once")
        ]

    def __str__(self) -> str:
        return f"{self.units} × {self.daily} in {self.order_id}"
