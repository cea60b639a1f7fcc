"""Reads of payments."""

from uuid import UUID

from apps.payments.models import Payment
from severable.errors import NotFound


class PaymentNotFound(NotFound):
    code = "payment_not_found"

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(f"There is no payment {payment_id}.")


class OrderNotPaid(NotFound):
    code = "payment_not_found"

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"There is no payment of order {order_id}.")


def locked(order_id: UUID) -> Payment:
    """Return the payment of an order, locked until the transaction ends. Raises OrderNotPaid."""
    found = Payment.objects.select_for_update().filter(order_id=order_id).first()
    if found is None:
        raise OrderNotPaid(order_id)
    return found


def payment(payment_id: UUID) -> Payment:
    """Return a payment. Raises PaymentNotFound."""
    found = Payment.objects.filter(id=payment_id).first()
    if found is None:
        raise PaymentNotFound(payment_id)
    return found
