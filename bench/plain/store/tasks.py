"""Mails to customers."""

from __future__ import annotations

from celery import shared_task
from django.core.mail import EmailMessage

from bench.plain.store.models import Order

SUBJECTS = {"received": "We have your order", "paid": "Your order is paid"}


@shared_task
def send_mail(order_id: str, kind: str) -> None:
    """Send the mail of a kind about an order."""
    order = Order.objects.select_related("user").get(id=order_id)
    body = f"Hello {order.user.get_full_name()},\n\n{SUBJECTS[kind]}: {order.total / 100:.2f} "
    body += f"{order.currency}.\n\nOrder {order.id}\n"
    EmailMessage(f"{SUBJECTS[kind]} ({order_id[-8:]})", body, to=[order.user.email]).send()
