"""Taking and giving back money: once, whatever is asked how often and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from django.db.models import Sum

from apps.payments.models import LedgerEntry, Payment, Refund, TestCharge
from apps.payments.providers import TestProvider, provider
from apps.users.models import User
from protos import payment_pb2 as pb
from protos.payment_pb2_grpc import PaymentServiceStub
from severable.errors import OutcomeUnknown, from_error
from severable.events.models import Event
from severable.rpc import deadline
from severable.rpc.client.stubs import stub
from tests.conftest import MakeUser
from tests.machine import do_jobs
from tests.threads import together

pytestmark = pytest.mark.django_db

ORDER = str(uuid4())


@pytest.fixture(autouse=True)
def the_ledger_is_balanced(db: None) -> Iterator[None]:
    yield
    sums = LedgerEntry.objects.values("payment", "currency").annotate(sum=Sum("amount"))
    assert not [row for row in sums if row["sum"]]


@pytest.fixture
def rich(make_user: MakeUser) -> User:
    return make_user("rich", credit=5000)


def pay(token: str = "tok_visa", *, user_id: int = 1, amount: int = 900) -> pb.Payment:
    method = pb.Method(method="card" if token else "credit", token=token)
    request = pb.PayRequest(
        order_id=ORDER, user_id=user_id, amount=amount, currency="EUR", method=method
    )
    answer: pb.Payment = stub(PaymentServiceStub).Pay(request)
    return answer


def refund() -> pb.Payment:
    answer: pb.Payment = stub(PaymentServiceStub).Refund(pb.RefundRequest(order_id=ORDER))
    return answer


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    found = from_error(caught.value)
    return caught.value.code(), found.code if found else ""  # type: ignore[attr-defined]


DECLINED = (grpc.StatusCode.FAILED_PRECONDITION, "payment_declined")
TAKEN_BACK = (grpc.StatusCode.FAILED_PRECONDITION, "payment_taken_back")


def account(name: str) -> int:
    return LedgerEntry.objects.filter(account=name).aggregate(sum=Sum("amount"))["sum"] or 0


def charges() -> list[tuple[str, int]]:
    return list(TestCharge.objects.values_list("state", "amount"))


def told() -> list[str]:
    events = Event.objects.filter(stream=f"payment-{ORDER}").order_by("version")
    return [event.type.partition(".")[2] for event in events]


def test_a_good_card_pays_once_however_often_it_is_asked() -> None:
    first, again = pay(), pay()

    assert (first.status, again) == ("paid", first)
    assert (charges(), told()) == ([("charged", 900)], ["PaymentReceived"])
    assert (account("provider"), account("sales")) == (900, -900)


@pytest.mark.parametrize("token", ["tok_declined", "tok_", "4111 1111 1111 1111", "x" * 200])
def test_other_cards_are_declined_for_good(token: str) -> None:
    assert [refusal(lambda: pay(token)) for _ in range(2)] == [DECLINED] * 2
    assert refusal(pay) == DECLINED  # another card does not pay for the same order
    assert (told(), LedgerEntry.objects.count()) == (["PaymentDeclined"], 0)


def test_a_slow_card_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    assert pay("tok_slow").status == "paid"
    assert waited == [3.0]


def test_a_slow_card_is_not_waited_for_longer_than_the_caller_has() -> None:
    """The outcome is then unknown, not "declined"; asked again it is known."""
    with deadline.within(0.05):
        assert refusal(lambda: pay("tok_slow"))[1] == ""
    assert Payment.objects.get().status == "pending"

    assert pay().status == "paid"


def test_a_charge_whose_answer_was_lost_is_not_made_twice() -> None:
    assert refusal(lambda: pay("tok_unknown")) == (grpc.StatusCode.ABORTED, "")

    assert pay("tok_unknown").status == "paid"
    assert (charges(), told()) == ([("charged", 900)], ["PaymentReceived"])


def test_store_credit_pays_once_and_comes_back_once(rich: User) -> None:
    payments = [pay("", user_id=rich.id) for _ in range(2)]
    after = User.objects.get(id=rich.id).credit
    refunds = [refund() for _ in range(2)]

    assert ([p.status for p in payments], after) == (["paid"] * 2, 4100)
    assert ([p.status for p in refunds], User.objects.get(id=rich.id).credit) == (
        ["refunded"] * 2,
        5000,
    )
    assert (account("store-credit"), account("sales")) == (0, 0)


def test_too_little_store_credit_declines_and_takes_nothing(rich: User) -> None:
    assert refusal(lambda: pay("", user_id=rich.id, amount=5001)) == DECLINED
    assert User.objects.get(id=rich.id).credit == 5000


def test_credit_of_nobody_declines() -> None:
    assert refusal(lambda: pay("", user_id=999)) == DECLINED


@pytest.mark.parametrize("method", ["", "cash", "CARD"])
def test_an_unknown_method_is_invalid(method: str) -> None:
    request = pb.PayRequest(order_id=ORDER, amount=1, method=pb.Method(method=method))
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "invalid")

    assert refusal(lambda: stub(PaymentServiceStub).Pay(request)) == invalid
    assert refusal(lambda: pay(amount=-1)) == invalid
    assert not Payment.objects.exists()


def test_nothing_costs_nothing() -> None:
    assert pay(amount=0).status == "paid"
    assert refund().status == "refunded"


def test_a_refund_gives_back_once() -> None:
    pay()

    assert [refund().status for _ in range(2)] == ["refunded"] * 2
    assert charges() == [("refunded", 900)]
    assert told() == ["PaymentReceived", "PaymentRefunded"]
    assert (account("provider"), account("sales")) == (0, 0)
    assert refusal(pay) == TAKEN_BACK


def test_a_refund_that_comes_before_its_payment_wins() -> None:
    assert refund().status == "refunded"

    assert refusal(pay) == TAKEN_BACK
    assert (charges(), told()) == ([], [])


def test_a_refund_of_a_lost_answer_gives_the_money_back() -> None:
    with pytest.raises(grpc.RpcError):
        pay("tok_unknown")

    assert refund().status == "refunded"
    assert (charges(), told()) == ([("refunded", 900)], ["PaymentRefunded"])


def test_a_declined_payment_needs_no_refund() -> None:
    with pytest.raises(grpc.RpcError):
        pay("tok_declined")

    assert refund().status == "declined"
    assert told() == ["PaymentDeclined"]


class Meddled(TestProvider):
    """A provider during whose work something else happens."""

    def __init__(self, before: Any = None, after: Any = None) -> None:
        self._before, self._after = before, after

    def charge(self, **how: Any) -> None:
        if self._before:
            self._before()
        super().charge(**how)
        if self._after:
            self._after()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_refund_while_the_card_is_being_charged_wins(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    meddled = Meddled(**{when: refund})
    monkeypatch.setattr("apps.payments.services.provider", lambda: meddled)

    assert refusal(pay)[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert TestCharge.objects.get().state == "refunded"
    assert (Payment.objects.get().status, told()) == ("refunded", ["PaymentRefunded"])


class Down(TestProvider):
    """A provider that does not answer."""

    def refund(self, **how: Any) -> None:
        raise OutcomeUnknown("no answer")


def test_a_refund_that_fails_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    pay()
    monkeypatch.setattr("apps.payments.services.provider", Down)
    answers = [refusal(refund) for _ in range(2)]
    monkeypatch.setattr("apps.payments.services.provider", provider)
    Refund.objects.get().retry_now()
    do_jobs()

    assert answers == [(grpc.StatusCode.ABORTED, "")] * 2
    assert (refund().status, charges()) == ("refunded", [("refunded", 900)])


@pytest.mark.django_db(transaction=True)
def test_payments_at_the_same_time_take_the_money_once() -> None:
    paid = together(8, lambda _: pay().id)

    assert set(paid) == {str(Payment.objects.get().id)}
    assert (charges(), told()) == ([("charged", 900)], ["PaymentReceived"])


@pytest.mark.django_db(transaction=True)
def test_a_payment_and_its_refund_at_the_same_time_take_nothing(rich: User) -> None:
    def either(number: int) -> None:
        with suppress(grpc.RpcError):
            refund() if number % 2 else pay("", user_id=rich.id)

    together(8, either)
    while do_jobs():
        pass

    assert Payment.objects.get().status == "refunded"
    assert User.objects.get(id=rich.id).credit == 5000


def test_a_payment_is_found_by_its_id() -> None:
    made = pay()
    found = stub(PaymentServiceStub).GetPayment(pb.GetPaymentRequest(payment_id=made.id))

    assert found == made


@pytest.mark.parametrize(
    ("payment_id", "code"),
    [(str(UUID(int=1)), "payment_not_found"), ("", "invalid"), ("x", "invalid")],
)
def test_what_is_no_payment_is_not_found(payment_id: str, code: str) -> None:
    request = pb.GetPaymentRequest(payment_id=payment_id)

    assert refusal(lambda: stub(PaymentServiceStub).GetPayment(request))[1] == code
