"""What can be asked about payments."""

from uuid import UUID

from apps.payments.models import Payment
from shop.refusal import NotFound


class PaymentNotFound(NotFound):
    code = "payment_not_found"

    def __init__(self, payment_id: UUID) -> None:
        super().__init__(f"There is no payment {payment_id}.")


def payment(payment_id: UUID) -> Payment:
    found = Payment.objects.filter(id=payment_id).first()
    if found is None:
        raise PaymentNotFound(payment_id)
    return found
