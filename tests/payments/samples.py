"""What the generic tests need to know of payments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from apps.payments import services
from apps.payments.models import LedgerEntry, Payment
from protos import payment_pb2 as pb
from protos.payment_pb2_grpc import PaymentServiceStub
from tests.samples import OWNER_AND_STAFF, STAFF, Call, Known, Route

ONE = "/api/payments/<uuid:payment_id>"

ROUTES = {
    ("GET", ONE): Route(OWNER_AND_STAFF, granted={"payments:refund": 200}),
    ("POST", f"{ONE}/refund"): Route(STAFF, granted={"payments:refund": 200}),
}
WORDS = ["tok_visa"]


def payment_of(owner: Any, known: Known) -> str:
    payment = services.pay(
        order_id=uuid4(),
        user_id=owner.id,
        amount=900,
        currency="EUR",
        method="card",
        token="tok_visa",
    )
    return str(payment.id)


PARAMETERS = {"payment_id": payment_of}


def calls(user: Any, known: Known) -> Iterator[Call]:
    def call(name: str, request: Any) -> Call:
        return PaymentServiceStub, name, request

    order, card = str(uuid4()), pb.Method(method="card", token="tok_visa")
    pay = pb.PayRequest(order_id=order, user_id=user.id, amount=1800, currency="EUR", method=card)
    yield call("Pay", pay)
    yield call("Close", pb.CloseRequest(order_id=order))
    yield call("Refund", pb.RefundRequest(order_id=order))
    yield call("GetPayment", pb.GetPaymentRequest(payment_id=known["payment_id"]))


def payment(n: int) -> Payment:
    return Payment.objects.create(order_id=UUID(int=n), user_id=n, amount=n, currency="EUR")


def entry(of: Payment, n: int) -> None:
    LedgerEntry.objects.create(payment=of, account="sales", amount=n, currency="EUR")


ROWS = {Payment: payment}
PARTS = {Payment: entry}
