"""Shipping an order and giving its money back exclude each other: the payment decides."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import grpc
import pytest
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.orders.models import Order
from apps.payments.models import Payment, Refund, TestCharge
from apps.users.models import User
from severable.errors import OutcomeUnknown
from severable.events.models import Event
from severable.rpc.server.registry import registry
from tests.conftest import ClientFor
from tests.machine import settle
from tests.orders.test_input import assert_problem
from tests.threads import together

pytestmark = pytest.mark.django_db

CLOSE = "/payment.PaymentService/Close"


@pytest.fixture
def customer(alice: User, mug: Product, client_for: ClientFor) -> APIClient:
    return client_for(alice)


@pytest.fixture
def desk(staff: User, client_for: ClientFor) -> APIClient:
    return client_for(staff)


def place(customer: APIClient) -> dict[str, Any]:
    items = [{"sku": "MUG", "quantity": 1}]
    body = {"items": items, "payment": {"method": "card", "token": "tok_visa"}}
    placed: dict[str, Any] = customer.post("/api/orders", body).json()
    return placed


def ship(desk: APIClient, order: dict[str, Any], **headers: str) -> Any:
    return desk.post(f"/api/orders/{order['id']}/ship", headers=headers)


def refund(desk: APIClient, order: dict[str, Any]) -> Any:
    return desk.post(f"/api/payments/{order['payment_id']}/refund")


def test_what_is_shipped_is_not_refunded_by_staff(customer: APIClient, desk: APIClient) -> None:
    """Goods gone and money back."""
    order = place(customer)
    assert ship(desk, order).json()["status"] == "shipped"
    answers = [refund(desk, order), refund(desk, order)]
    settle()

    assert {assert_problem(answer, 409)["code"] for answer in answers} == {"order_shipped"}
    assert Order.objects.get().status == "shipped"
    assert TestCharge.objects.get().state == "charged"


def test_what_is_being_refunded_is_not_shipped(
    customer: APIClient, desk: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(*args: Any, **kwargs: Any) -> None:
        raise OutcomeUnknown("no answer")

    order = place(customer)
    monkeypatch.setattr("apps.payments.providers.TestProvider.refund", no_answer)
    assert refund(desk, order).status_code == 202
    assert assert_problem(ship(desk, order), 409)["code"] == "payment_taken_back"
    assert Order.objects.get().status == "paid"
    assert not Event.objects.filter(type="order.OrderShipped").exists()

    monkeypatch.undo()
    Refund.objects.get().retry_now()
    settle()
    assert Order.objects.get().status == "cancelled"


def test_a_customer_may_cancel_what_was_not_shipped_in_the_end(
    customer: APIClient, desk: APIClient
) -> None:
    """The order was cancelled between the call and the shipping: the money comes back."""
    order = place(customer)
    handler = registry.find(CLOSE)
    assert handler

    def close(request: Any, context: Any) -> Any:
        answer = handler.unary_unary(request, context)
        customer.post(f"/api/orders/{order['id']}/cancel")
        return answer

    with registry.overridden({CLOSE: close}):
        assert assert_problem(ship(desk, order), 409)["code"] == "illegal_transition"
    settle()
    assert Order.objects.get().status == "cancelled"
    assert Payment.objects.get().status == "refunded"
    assert refund(desk, order).json()["status"] == "refunded"


@pytest.mark.parametrize("carried_out", [False, True])
def test_payments_that_do_not_answer_ship_nothing_and_may_be_asked_again(
    customer: APIClient, desk: APIClient, carried_out: bool
) -> None:
    order = place(customer)
    key = {"Idempotency-Key": str(uuid4())}
    handler = registry.find(CLOSE)
    assert handler

    def lost(request: Any, context: Any) -> Any:
        if carried_out:
            handler.unary_unary(request, context)
        context.abort(grpc.StatusCode.UNAVAILABLE, "nobody listens")

    with registry.overridden({CLOSE: lost}):
        answer = ship(desk, order, **key)
    assert_problem(answer, 503)
    assert answer["Retry-After"]
    assert Order.objects.get().status == "paid"

    assert ship(desk, order, **key).json()["status"] == "shipped"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round", range(5))
def test_of_shipping_and_a_refund_at_once_one_wins(
    customer: APIClient, staff: User, client_for: ClientFor, round: int
) -> None:
    order = place(customer)

    def either(number: int) -> int:
        desk = client_for(staff)
        answer = refund(desk, order) if number % 2 else ship(desk, order)
        code: int = answer.status_code
        return code

    answered = together(2, either)
    settle()

    shipped = Order.objects.get().status == "shipped"
    assert Order.objects.get().status in ("shipped", "cancelled")
    assert Payment.objects.get().status == ("paid" if shipped else "refunded")
    assert sorted(answered)[-1] == 409
