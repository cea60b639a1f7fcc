"""Placing an order: one transaction, and two mails once it is committed."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

from django.contrib.auth.models import User
from django.db import transaction

from bench.plain.store.models import Order, OrderLine, Payment, Product
from bench.plain.store.tasks import send_mail


class OutOfStock(Exception):
    """A product of the order is not there, or not in that quantity."""


class Declined(Exception):
    """The card was declined."""


def place(user: User, wanted: dict[str, int], token: str) -> Order:
    """Reserve the stock, charge the card, and write the order with its lines and its payment."""
    with transaction.atomic():
        products = Product.objects.select_for_update().filter(sku__in=wanted).order_by("sku")
        taken = _take(list(products), wanted)
        total = sum(product.unit_price * wanted[product.sku] for product in taken)
        order = Order.objects.create(user=user, total=total, currency=taken[0].currency)
        OrderLine.objects.bulk_create(
            OrderLine(
                order=order,
                product=product,
                quantity=wanted[product.sku],
                unit_price=product.unit_price,
            )
            for product in taken
        )
        Payment.objects.create(
            order=order, amount=total, currency=order.currency, reference=_charge(token)
        )
        for kind in ("received", "paid"):
            transaction.on_commit(partial(send_mail.delay, str(order.id), kind))
    return order


def _take(products: list[Product], wanted: dict[str, int]) -> list[Product]:
    if len(products) < len(wanted):
        raise OutOfStock
    for product in products:
        if product.stock < wanted[product.sku]:
            raise OutOfStock
        product.stock -= wanted[product.sku]
        product.save(update_fields=["stock"])
    return products


def _charge(token: str) -> str:
    """Return the provider's reference. As in the shop's test provider, no money moves."""
    if token == "tok_declined":
        raise Declined
    return f"charge-{uuid4()}"
