"""The summary of an order, composed of four contexts. One of them may be unavailable."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from apps.inventory.models import Product
from apps.users.models import User
from severable.errors import OutcomeUnknown
from severable.rpc.server.registry import registry
from tests.conftest import ClientFor

pytestmark = pytest.mark.django_db


@pytest.fixture
def placed(alice: User, mug: Product, client_for: ClientFor) -> str:
    body = {
        "items": [{"sku": "MUG", "quantity": 2}],
        "payment": {"method": "card", "token": "tok_visa"},
    }
    return str(client_for(alice).post("/api/orders", body).json()["id"])


def silent(method: str) -> AbstractContextManager[None]:
    def say_nothing(request: Any, context: Any) -> Any:
        raise OutcomeUnknown("no answer")

    return registry.overridden({method: say_nothing})


def test_an_order_comes_with_customer_payment_and_products(
    placed: str, alice: User, client_for: ClientFor
) -> None:
    answer = client_for(alice).get(f"/api/orders/{placed}/summary").json()
    assert answer["order"]["total"] == answer["payment"]["amount"] == 1800
    assert answer["customer"]["email"] == alice.email
    assert [product["name"] for product in answer["products"]] == ["Mug"]
    assert answer["missing"] == []


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("/user.UserService/GetUser", "customer"),
        ("/payment.PaymentService/GetPayment", "payment"),
        ("/inventory.InventoryService/GetProducts", "products"),
    ],
)
def test_a_silent_part_is_named_and_the_rest_is_served(
    placed: str,
    alice: User,
    client_for: ClientFor,
    method: str,
    part: str,
) -> None:
    with silent(method):
        answer = client_for(alice).get(f"/api/orders/{placed}/summary")
    parts = {"customer", "payment", "products"}
    assert answer.status_code == 200
    assert answer.json()["missing"] == [part]
    assert {p for p in parts if answer.json()[p] is None} == {part}


def test_without_the_order_there_is_no_summary(
    placed: str, alice: User, client_for: ClientFor
) -> None:
    with silent("/order.OrderService/GetOrder"):
        answer = client_for(alice).get(f"/api/orders/{placed}/summary")
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")


def test_another_s_order_does_not_exist(placed: str, bob: User, client_for: ClientFor) -> None:
    assert client_for(bob).get(f"/api/orders/{placed}/summary").status_code == 404
