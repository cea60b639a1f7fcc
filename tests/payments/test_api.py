"""Payments over the public API: who sees one, and who gives it back."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from apps.orders.models import Order
from apps.payments import services
from apps.payments.models import Payment, TestCharge
from apps.users.models import User
from severable.errors import OutcomeUnknown
from tests.conftest import ClientFor
from tests.machine import settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def payment(alice: User) -> Payment:
    return services.pay(
        order_id=uuid4(),
        user_id=alice.id,
        amount=900,
        currency="EUR",
        method="card",
        token="tok_visa",
    )


def refund(client: APIClient, payment_id: Any, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/api/payments/{payment_id}/refund", headers=headers)


def test_a_payment_is_seen_by_who_made_it_and_by_those_who_refund(
    alice: User, bob: User, staff: User, payment: Payment, client_for: ClientFor
) -> None:
    path = f"/api/payments/{payment.id}"
    others = client_for(bob).get(path)

    assert client_for(alice).get(path).json()["amount"] == 900
    assert client_for(staff).get(path).status_code == 200
    assert (others.status_code, others.json()["code"]) == (404, "payment_not_found")
    assert APIClient().get(path).status_code == 401


@pytest.mark.parametrize("payment_id", [uuid4(), "1", "x" * 500, "%00"])
def test_an_unknown_payment_is_not_found(
    staff: User, client_for: ClientFor, payment_id: object
) -> None:
    assert client_for(staff).get(f"/api/payments/{payment_id}").status_code == 404
    assert refund(client_for(staff), payment_id).status_code == 404


def test_only_those_who_may_give_money_back(
    alice: User, payment: Payment, client_for: ClientFor
) -> None:
    assert refund(client_for(alice), payment.id).status_code == 403
    assert TestCharge.objects.get().state == "charged"


def test_money_is_given_back_once(staff: User, payment: Payment, client_for: ClientFor) -> None:
    first, replayed = (refund(client_for(staff), payment.id, key="sorry") for _ in range(2))
    again = refund(client_for(staff), payment.id, key="another")

    assert (first.status_code, first.json()["status"]) == (200, "refunded")
    assert replayed.content == first.content
    assert (again.status_code, again.json()["status"]) == (200, "refunded")


def test_a_declined_payment_gives_nothing_back(
    staff: User, payment: Payment, client_for: ClientFor
) -> None:
    Payment.objects.update(status="declined")
    answer = refund(client_for(staff), payment.id)

    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_refund")


def test_a_refund_that_takes_longer_is_accepted(
    staff: User, payment: Payment, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(*args: Any, **kwargs: Any) -> None:
        raise OutcomeUnknown("no answer")

    monkeypatch.setattr("apps.payments.providers.TestProvider.refund", no_answer)
    answer = refund(client_for(staff), payment.id)

    assert (answer.status_code, answer.json()["status"]) == (202, "refunding")


def test_an_order_whose_money_is_given_back_is_cancelled(
    alice: User, staff: User, mug: Any, client_for: ClientFor
) -> None:
    body = {"items": [{"sku": "MUG", "quantity": 1}], "payment": {"method": "card"}}
    body["payment"]["token"] = "tok_visa"  # type: ignore[call-overload]
    order = client_for(alice).post("/api/orders", body).json()
    refund(client_for(staff), order["payment_id"])
    settle()

    mug.refresh_from_db()
    assert Order.objects.get().status == "cancelled"
    assert (mug.available, mug.held) == (10, 0)
