"""An order's way through all contexts."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.notifications.models import Notification
from apps.orders.models import Order
from apps.payments.models import Payment
from apps.users.models import User
from severable.events.models import Delivery
from tests.conftest import ClientFor, MakeUser
from tests.machine import settle

pytestmark = pytest.mark.django_db


def order(client: APIClient, *, token: str = "tok_visa", quantity: int = 2, **headers: Any) -> Any:
    body = {
        "items": [{"sku": "MUG", "quantity": quantity}],
        "payment": {"method": "card", "token": token},
    }
    return client.post("/api/orders", body, headers=headers)


def mails(kind: str) -> int:
    return Notification.objects.filter(kind=kind, state="done").count()


def test_a_paid_order_takes_stock_and_is_told_of(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    answer = order(client_for(alice))
    settle()

    mug.refresh_from_db()
    assert (answer.status_code, answer.json()["status"]) == (201, "paid")
    assert answer.json()["total"] == 1800
    assert (mug.available, mug.held) == (8, 0)
    assert mails("order.OrderPaid") == 1


def test_a_declined_card_leaves_the_stock_free(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    answer = order(client_for(alice), token="tok_declined")

    mug.refresh_from_db()
    assert (answer.status_code, answer.json()["code"]) == (402, "payment_declined")
    assert (mug.available, mug.held) == (10, 0)
    assert Order.objects.get(id=answer.json()["order_id"]).reason == "payment_declined"


def test_an_order_for_more_than_the_stock_pays_nothing(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    answer = order(client_for(alice), quantity=11)

    assert (answer.status_code, answer.json()["code"]) == (409, "insufficient_stock")
    assert not Payment.objects.exists()


def test_an_asynchronous_order_is_paid_by_the_worker(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    client = client_for(alice)
    answer = order(client, Prefer="respond-async")
    settle()

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert client.get(answer["Location"]).json()["status"] == "paid"


def test_a_refund_that_comes_before_the_order_is_paid_cancels_it(
    alice: User, mug: Product, client_for: ClientFor, staff: User
) -> None:
    """Staff refund between the payment's answer and its note in the order: the goods would leave
    and the money be back."""
    order_id = order(client_for(alice)).json()["id"]
    Order.objects.filter(id=order_id).update(status="pending")  # as it was a moment before
    payment = Payment.objects.get()
    assert client_for(staff).post(f"/api/payments/{payment.id}/refund").status_code == 200
    settle()
    waiting = Delivery.objects.get(state="waiting")
    assert (waiting.handler, waiting.stream) == ("orders.cancel_refunded", payment.stream)
    Order.objects.filter(id=order_id).update(status="paid")
    waiting.retry_now()
    settle()
    mug.refresh_from_db()
    assert Order.objects.get().status == "cancelled"
    assert (mug.available, mug.held) == (10, 0)


def test_store_credit_pays_and_comes_back(
    make_user: MakeUser, mug: Product, client_for: ClientFor
) -> None:
    alice = make_user("alice", credit=2000)
    client = client_for(alice)
    body = {"items": [{"sku": "MUG", "quantity": 2}], "payment": {"method": "credit"}}

    placed = client.post("/api/orders", body)
    assert (placed.status_code, client.get("/api/users/me").json()["credit"]) == (201, 200)

    cancelled = client.post(f"/api/orders/{placed.json()['id']}/cancel")
    settle()
    mug.refresh_from_db()
    assert cancelled.json()["status"] == "cancelled"
    assert client.get("/api/users/me").json()["credit"] == 2000
    assert (mug.available, mug.held) == (10, 0)
