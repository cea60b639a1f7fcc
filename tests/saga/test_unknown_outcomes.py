"""A step whose first outcome was unknown, and what its repetition answers: no charge without an
order, no order without a charge, stock and ledger agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from django.db.models import Sum

from apps.inventory import services as inventory
from apps.inventory.models import Product, Reservation
from apps.orders import services
from apps.orders.models import Order
from apps.payments.models import LedgerEntry, Payment, TestCharge
from apps.payments.providers import CardDeclined, TestProvider
from apps.users.models import User
from severable.errors import Conflict, OutcomeUnknown
from severable.rpc.server.registry import registry
from severable.saga.models import Saga
from tests.conftest import MakeUser
from tests.machine import settle
from tests.saga.test_order_under_faults import Died, decide

pytestmark = pytest.mark.django_db

CREDIT, PRICE, STOCK = 5000, 900, 10
RESERVE, PAY = "/inventory.InventoryService/Reserve", "/payment.PaymentService/Pay"
FIND, DEBIT = "/user.UserService/GetUser", "/user.UserService/DebitCredit"
CALLS = {"card": [FIND, RESERVE, PAY], "credit": [RESERVE, PAY, DEBIT]}
STEPS = [(method, call) for method, calls in CALLS.items() for call in calls]

Reply = Callable[[Any], None]


def refused(context: Any) -> None:
    raise Conflict("not now")


def lost(context: Any) -> None:
    raise OutcomeUnknown("no answer")


def dying(context: Any) -> None:
    raise Died


def failing(code: grpc.StatusCode) -> Reply:
    return lambda context: context.abort(code, "not from a servicer")


FAULTS: dict[str, Reply] = {
    "timed out": lost,
    "deadline": failing(grpc.StatusCode.DEADLINE_EXCEEDED),
    "unimplemented": failing(grpc.StatusCode.UNIMPLEMENTED),
    "unauthenticated": failing(grpc.StatusCode.UNAUTHENTICATED),
    "permission denied": failing(grpc.StatusCode.PERMISSION_DENIED),
    "not found": failing(grpc.StatusCode.NOT_FOUND),
    "invalid argument": failing(grpc.StatusCode.INVALID_ARGUMENT),
}


@pytest.fixture
def rich(make_user: MakeUser) -> User:
    return make_user("rich", credit=CREDIT)


@pytest.fixture
def spoil() -> Iterator[Callable[..., None]]:
    """spoil(method, reply, reply …): its first calls are carried out and answered so."""

    def spoil(method: str, *replies: Reply, carried_out: bool = True) -> None:
        handler, left = registry.find(method), list(replies)
        assert handler

        def call(request: Any, context: Any) -> Any:
            if not left:
                return handler.unary_unary(request, context)
            reply = left.pop(0)
            if carried_out:
                handler.unary_unary(request, context)
            return reply(context)

        spoiled.enter_context(registry.overridden({method: call}))

    with ExitStack() as spoiled:
        yield spoil


def place(user: User, method: str = "card", token: str = "tok_visa") -> UUID:
    order_id = uuid4()
    services.place(
        order_id=order_id,
        user_id=user.id,
        wanted=[("MUG", 1)],
        method=method,
        token=token if method == "card" else "",
        wait=True,
    )
    return order_id


def decided(order_id: UUID, *, patience_over: bool = False) -> Order:
    """The order after its saga has ended and everything is quiet, when all accounts agree."""
    decide(order_id, patience_over=patience_over)
    settle()
    order = Order.objects.get(id=order_id)
    agree(order)
    return order


def agree(order: Order) -> None:
    paid = order.status == "paid"
    charged = TestCharge.objects.filter(state="charged").aggregate(sum=Sum("amount"))["sum"] or 0
    credit = User.objects.get(id=order.user_id).credit
    payment = Payment.objects.filter(order_id=order.id).first()
    reservation = Reservation.objects.filter(order_id=order.id).first()
    product = Product.objects.get(sku="MUG")
    assert charged + CREDIT - credit == (PRICE if paid else 0)
    assert (payment is not None and payment.status == "paid") == paid
    assert payment is None or payment.status != "pending"
    assert (reservation is not None and reservation.state == "sold") == paid
    assert (product.available, product.held) == (STOCK - paid, 0)
    assert LedgerEntry.objects.aggregate(sum=Sum("amount"))["sum"] in (None, 0)


@pytest.mark.parametrize(("method", "call"), STEPS)
def test_a_refusal_after_an_unknown_outcome_compensates_that_step(
    rich: User, mug: Product, spoil: Callable[..., None], method: str, call: str
) -> None:
    """A card charged for a rejected order, whose payment is pending for ever."""
    spoil(call, lost, refused)
    assert decided(place(rich, method)).status == "rejected"


@pytest.mark.parametrize(("method", "call"), STEPS)
def test_a_refusal_after_a_crash_compensates_that_step(
    rich: User, mug: Product, spoil: Callable[..., None], method: str, call: str
) -> None:
    """The next driver does not know what the dead one has done."""
    spoil(call, dying, refused)
    with pytest.raises(Died):
        place(rich, method)
    assert decided(Order.objects.get().id).status == "rejected"


@pytest.mark.parametrize("call", [RESERVE, PAY])
def test_a_refusal_at_the_first_attempt_compensates_only_what_was_done(
    rich: User, mug: Product, spoil: Callable[..., None], call: str
) -> None:
    """Orders refused for want of stock are many: each would write a reservation that is none."""
    spoil(call, refused, carried_out=False)
    order = decided(place(rich))
    assert order.status == "rejected"
    entries = Saga.objects.get().entries
    assert [entry.step for entry in entries if entry.action == "compensate"] == (
        [] if call == RESERVE else ["stock"]
    )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "call"), STEPS)
def test_a_fault_of_the_transport_rejects_no_order(
    rich: User, mug: Product, spoil: Callable[..., None], method: str, call: str, fault: str
) -> None:
    """An order that was rejected, or told that its customer is unknown, by a proxy's answer."""
    spoil(call, lost, FAULTS[fault], FAULTS[fault])
    order_id = place(rich, method)
    assert Order.objects.get(id=order_id).status == "pending"
    assert decided(order_id).status == "paid"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "call"), STEPS)
def test_a_fault_that_stays_compensates_the_step_when_the_saga_times_out(
    rich: User, mug: Product, spoil: Callable[..., None], method: str, call: str, fault: str
) -> None:
    spoil(call, *[FAULTS[fault]] * 2)
    order = decided(place(rich, method), patience_over=True)
    assert (order.status, order.reason) == ("rejected", "unresolved")


def test_a_reservation_is_found_although_its_product_has_changed(
    rich: User, mug: Product, make_product: Any, spoil: Callable[..., None]
) -> None:
    """The repeated call looked at the products first, and refused what it had already held."""
    make_product("RUG")
    spoil(RESERVE, lost)
    order_id = uuid4()
    wanted = [("MUG", 1), ("RUG", 1)]
    services.place(
        order_id=order_id,
        user_id=rich.id,
        wanted=wanted,
        method="card",
        token="tok_visa",
        wait=True,
    )
    Product.objects.filter(sku="RUG").update(currency="USD")
    assert inventory.reserve(order_id=order_id, wanted=wanted).state == "held"
    decide(order_id, patience_over=False)
    assert Order.objects.get(id=order_id).status == "paid"


class Forgetful(TestProvider):
    """Takes the money, loses the answer, and declines the repetition."""

    def __init__(self) -> None:
        self.asked = 0

    def charge(self, **how: Any) -> None:
        self.asked += 1
        if self.asked == 1:
            super().charge(**how)
            raise OutcomeUnknown("the answer was lost")
        raise CardDeclined("The card was declined.")


def test_a_decline_after_an_unknown_charge_takes_the_charge_back(
    rich: User, mug: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment that is declined, and the card is charged all the same."""
    provider = Forgetful()
    monkeypatch.setattr("apps.payments.services.provider", lambda: provider)
    order = decided(place(rich))
    assert (order.status, order.reason) == ("rejected", "payment_declined")
    assert TestCharge.objects.get().state == "refunded"


def test_credit_that_a_later_refusal_denies_is_returned(
    rich: User, mug: Product, spoil: Callable[..., None]
) -> None:
    spoil(DEBIT, lost, refused)
    order = decided(place(rich, "credit"))
    assert order.status == "rejected"
    assert Saga.objects.get(key=order.id).status == "compensated"
