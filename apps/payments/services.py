"""Commands on payments.

A payment has its row before any money moves. What moves it (a provider, the users' store
credit) is asked outside any transaction, with the payment's id as the key; the outcome is
then settled, together with the ledger. Whoever does not hear an outcome asks again.
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
from severable.rpc import remaining, stub

Status = Payment.Status


class PaymentTakenBack(Conflict):
    code = "payment_taken_back"

    def __init__(self) -> None:
        super().__init__("This payment has been taken back.")


class NothingToRefund(Conflict):
    code = "nothing_to_refund"

    def __init__(self) -> None:
        super().__init__("This payment was declined: there is nothing to give back.")


class OrderShipped(Conflict):
    code = "order_shipped"

    def __init__(self) -> None:
        super().__init__("The order is shipped, or about to be: its payment is not refunded.")


def pay(
    *, order_id: UUID, user_id: int, amount: int, currency: str, method: str, token: str
) -> Payment:
    """Take the money for an order, once. Raises Declined, PaymentTakenBack, or OutcomeUnknown:
    then ask again."""
    payment, first = Payment.objects.get_or_create(
        order_id=order_id,
        defaults={
            "user_id": user_id,
            "amount": amount,
            "currency": currency,
            "method": method,
        },
    )
    _refuse_ended(payment)
    if payment.status == Status.PENDING:
        try:
            _take(payment, token)
        except Declined as refusal:
            if not first:
                # An earlier attempt, whose outcome is unknown, may have taken the money.
                _return(payment)
            _settle_declined(payment.id, refusal.detail)
            raise
        payment = _settle_paid(payment.id)
    return payment


def refund(*, order_id: UUID) -> Payment:
    """Give back what an order has paid, be it nothing: it pays nothing any more. The answer may
    still be "refunding"; the rest then goes on by itself."""
    return _refund(order_id, even_closed=True)


def refund_payment(*, payment_id: UUID) -> Payment:
    """Give back a payment for staff. Raises NothingToRefund if it was declined, OrderShipped if
    it is closed."""
    payment = queries.payment(payment_id)
    if payment.status == Status.DECLINED:
        raise NothingToRefund
    return _refund(payment.order_id, even_closed=False)


@transaction.atomic
def close(*, order_id: UUID) -> Payment:
    """Close the payment of an order that is about to be shipped: of this and a refund by staff
    one wins. Raises PaymentTakenBack if the refund did."""
    payment = queries.locked(order_id)
    _refuse_ended(payment)
    if payment.status == Status.PENDING:
        raise OutcomeUnknown("the payment is not decided yet")
    if payment.closed_at is None:
        payment.closed_at = timezone.now()
        payment.save(update_fields=["closed_at", "updated_at"])
    return payment


@executes(Refund)
def execute_refund(refund: Refund) -> None:
    """Return the money of a payment, then note it."""
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


def _refuse_ended(payment: Payment) -> None:
    if payment.status in (Status.REFUNDING, Status.REFUNDED):
        raise PaymentTakenBack
    if payment.status == Status.DECLINED:
        raise Declined(payment.reason)


@transaction.atomic
def _settle_declined(payment_id: UUID, reason: str) -> None:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.status == Status.PENDING:
        payment.status, payment.reason = Status.DECLINED, reason[:200]
        payment.save(update_fields=["status", "reason", "updated_at"])
        append(PaymentDeclined(**_facts(payment), reason=reason), stream=payment.stream)


def _settle_paid(payment_id: UUID) -> Payment:
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(id=payment_id)
        if payment.status == Status.PENDING:
            payment.status = Status.PAID
            payment.save(update_fields=["status", "updated_at"])
            _post(payment, debit=_source(payment), credit="sales")
            append(PaymentReceived(**_facts(payment), method=payment.method), stream=payment.stream)
    # A refund may have come while the money was being taken. It then did not find what it was
    # to give back, or did: to give back again is harmless.
    # Another attempt may have been declined meanwhile: its word counts, so that goes back, too.
    if payment.status != Status.PAID:
        _return(payment)
    _refuse_ended(payment)
    return payment


def _take(payment: Payment, token: str) -> None:
    if payment.method == Payment.Method.CARD:
        provider().charge(
            key=payment.id,
            amount=payment.amount,
            currency=payment.currency,
            token=token,
            timeout=_patience(),
        )
        return
    request = DebitCreditRequest(
        payment_id=str(payment.id), user_id=payment.user_id, amount=payment.amount
    )
    try:
        stub(UserServiceStub).DebitCredit(request)
    except grpc.RpcError as error:
        refusal = from_error(error)
        raise Declined(refusal.detail) if refusal else error from None


def _return(payment: Payment) -> None:
    if payment.method == Payment.Method.CARD:
        provider().refund(key=payment.id, timeout=_patience())
    else:
        stub(UserServiceStub).ReturnCredit(
            ReturnCreditRequest(payment_id=str(payment.id), user_id=payment.user_id)
        )


def _patience() -> float:
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
