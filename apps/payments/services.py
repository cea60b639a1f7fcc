"""Commands on payments.

A payment has its row before any money moves. The provider, or the store credit of users, is called
outside any transaction, with the payment's id as the key; then the outcome is stored together with
the ledger entries. After an unknown outcome the caller repeats the call.
"""

from typing import Any
from uuid import UUID

import grpc
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.payments import queries
from apps.payments.models import LedgerEntry, Payment, Refund
from apps.payments.providers import Declined, provider
from protos.payment_pb2 import PaymentDeclined, PaymentReceived, PaymentRefunded
from protos.user_pb2 import DebitCreditRequest, ReturnCreditRequest
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import Conflict, OutcomeUnknown, from_error
from severable.events import append
from severable.jobs import executes
from severable.rows import insert_new
from severable.rpc import remaining, stub

Status = Payment.Status


class AlreadyRefunded(Conflict):
    code = "payment_taken_back"

    def __init__(self) -> None:
        super().__init__("This payment has been refunded.")


class NothingToRefund(Conflict):
    code = "nothing_to_refund"

    def __init__(self) -> None:
        super().__init__("This payment was declined: there is nothing to refund.")


class OrderShipped(Conflict):
    code = "order_shipped"

    def __init__(self) -> None:
        super().__init__("The order is shipped, or about to be: its payment is not refunded.")


def pay(
    *, order_id: UUID, user_id: int, amount: int, currency: str, method: str, token: str
) -> Payment:
    """Take the money for an order, once. Raises Declined, AlreadyRefunded, or OutcomeUnknown:
    then repeat the call."""
    payment = Payment(
        order_id=order_id, user_id=user_id, amount=amount, currency=currency, method=method
    )
    first = insert_new(payment)
    if not first:
        payment = Payment.objects.get(order_id=order_id)
        _raise_if_ended(payment)
    if payment.status == Status.PENDING:
        try:
            _take(payment, token)
        except Declined as error:
            if not first:
                # An earlier attempt, whose outcome is unknown, may have taken the money.
                _return(payment)
            _settle_declined(payment, error.detail)
            raise
        payment = _settle_paid(payment)
    return payment


def refund(*, order_id: UUID) -> Payment:
    """Refund the payment of an order, and prevent a later one. The status of the returned payment
    is "refunding" if the refund is still in progress; a worker then completes it."""
    return _refund(order_id, even_closed=True)


def refund_payment(*, payment_id: UUID) -> Payment:
    """Refund a payment for staff. Raises NothingToRefund if it was declined, OrderShipped if it is
    closed."""
    payment = queries.payment(payment_id)
    if payment.status == Status.DECLINED:
        raise NothingToRefund
    return _refund(payment.order_id, even_closed=False)


@transaction.atomic
def close(*, order_id: UUID) -> Payment:
    """Close the payment of an order that is about to be shipped: staff cannot refund it any more.
    Raises AlreadyRefunded if they have."""
    payment = queries.locked(order_id)
    _raise_if_ended(payment)
    if payment.status == Status.PENDING:
        raise OutcomeUnknown("the outcome of the payment is unknown")
    if payment.closed_at is None:
        payment.closed_at = timezone.now()
        payment.save(update_fields=["closed_at", "updated_at"])
    return payment


@executes(Refund)
def execute_refund(refund: Refund) -> None:
    """Return the money of a payment, then store that in the ledger."""
    payment = refund.payment
    _return(payment)
    with transaction.atomic():
        refund.complete()
        Payment.objects.filter(id=payment.id).update(status=Status.REFUNDED)
        taken = payment.amount if payment.entries.exists() else 0
        if taken:
            _post(payment, debit="sales", credit=_source(payment))
        append(PaymentRefunded(**_facts(payment) | {"amount": taken}), stream=payment.stream)


def _refund(order_id: UUID, *, even_closed: bool) -> Payment:
    payment, refund = _begin_refund(order_id, even_closed)
    if refund:
        refund.attempt()
        payment.refresh_from_db()
    return payment


@transaction.atomic
def _begin_refund(order_id: UUID, even_closed: bool) -> tuple[Payment, Refund | None]:
    nothing = {"user_id": 0, "amount": 0, "status": Status.REFUNDED}
    payment, _ = Payment.objects.select_for_update().get_or_create(
        order_id=order_id, defaults=nothing
    )
    if payment.status in (Status.PENDING, Status.PAID):
        if payment.closed_at and not even_closed:
            raise OrderShipped
        payment.status = Status.REFUNDING
        payment.save(update_fields=["status", "updated_at"])
        refund = Refund(payment=payment)
        refund.acquire()
        refund.save(force_insert=True)
        return payment, refund
    return payment, Refund.claim(payment.id)


def _raise_if_ended(payment: Payment) -> None:
    if payment.status in (Status.REFUNDING, Status.REFUNDED):
        raise AlreadyRefunded
    if payment.status == Status.DECLINED:
        raise Declined(payment.reason)


@transaction.atomic
def _settle_declined(payment: Payment, reason: str) -> None:
    if _settle(payment, status=Status.DECLINED, reason=reason[:200]):
        append(PaymentDeclined(**_facts(payment), reason=reason), stream=payment.stream)


def _settle_paid(payment: Payment) -> Payment:
    with transaction.atomic():
        if _settle(payment, status=Status.PAID):
            _post(payment, debit=_source(payment), credit="sales")
            append(PaymentReceived(**_facts(payment), method=payment.method), stream=payment.stream)
            return payment
    payment = Payment.objects.get(id=payment.id)
    # While the money was being taken, a refund may have begun, which may not have found it; or
    # another attempt may have been declined. The stored outcome counts. A second return of the
    # money has no effect.
    if payment.status != Status.PAID:
        _return(payment)
    _raise_if_ended(payment)
    return payment


def _settle(payment: Payment, **columns: Any) -> bool:
    """Store the outcome of a pending payment in one statement. Return False if the payment is not
    pending any more."""
    columns["updated_at"] = timezone.now()
    if not Payment.objects.filter(id=payment.id, status=Status.PENDING).update(**columns):
        return False
    for name, value in columns.items():
        setattr(payment, name, value)
    return True


def _take(payment: Payment, token: str) -> None:
    if payment.method == Payment.Method.CARD:
        provider().charge(
            key=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            token=token,
            timeout=_timeout(),
        )
        return
    request = DebitCreditRequest(
        payment_id=str(payment.id), user_id=payment.user_id, amount=payment.amount
    )
    try:
        stub(UserServiceStub).DebitCredit(request)
    except grpc.RpcError as error:
        domain_error = from_error(error)
        raise Declined(domain_error.detail) if domain_error else error from None


def _return(payment: Payment) -> None:
    if payment.method == Payment.Method.CARD:
        provider().refund(key=payment.id, timeout=_timeout())
    else:
        stub(UserServiceStub).ReturnCredit(
            ReturnCreditRequest(payment_id=str(payment.id), user_id=payment.user_id)
        )


def _timeout() -> float:
    left = remaining()
    return settings.TOPOLOGY.timeout if left is None else left


def _post(payment: Payment, *, debit: str, credit: str) -> None:
    LedgerEntry.objects.bulk_create(
        LedgerEntry(payment=payment, account=account, amount=amount, currency=payment.currency)
        for account, amount in ((debit, payment.amount), (credit, -payment.amount))
    )


def _source(payment: Payment) -> str:
    return "provider" if payment.method == Payment.Method.CARD else "store-credit"


def _facts(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": str(payment.id),
        "order_id": str(payment.order_id),
        "user_id": payment.user_id,
        "amount": payment.amount,
        "currency": payment.currency,
    }
