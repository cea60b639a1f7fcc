"""A shop in which something of everything has happened, and a superuser who looks at it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from apps.inventory import services as inventory
from apps.inventory.models import Product
from apps.orders.models import Order
from apps.users import sessions
from apps.users.models import User
from tests.admin import rows
from tests.admin.views import MODELS
from tests.conftest import ClientFor, MakeUser
from tests.machine import settle


@pytest.fixture
def boss(make_user: MakeUser) -> User:
    user = make_user("boss")
    User.objects.filter(id=user.id).update(is_staff=True, is_superuser=True)
    user.refresh_from_db()
    return user


@pytest.fixture
def desk(boss: User, client: Client) -> Client:
    """A browser in which the superuser has signed in."""
    client.force_login(boss)
    return client


@pytest.fixture
def place(make_user: MakeUser, mug: Product, client_for: ClientFor) -> Any:
    """place(token="tok_visa") places an order for alice, who has store credit, and returns it."""
    alice = make_user("alice", credit=100_000)

    def order(token: str = "tok_visa", *, method: str = "card", **headers: Any) -> Order:
        body = {
            "items": [{"sku": "MUG", "quantity": 1}],
            "payment": {"method": method, "token": token},
        }
        client_for(alice).post("/api/orders", body, headers=headers)
        return Order.objects.latest("id")

    return order


@pytest.fixture
def world(place: Any, client_for: ClientFor, boss: User) -> None:
    """At least one row of every model."""
    paid = place(**{"Idempotency-Key": "first"})
    place("tok_declined")
    client_for(User.objects.get(id=paid.user_id)).post(f"/api/orders/{paid.id}/cancel")
    settle()
    place(Prefer="respond-async")  # nobody carries it out: its steps are still to do
    place()
    settle()
    inventory.restock(key=uuid4(), sku="MUG", quantity=5)
    sessions.sign_in(username="alice", password="correct horse battery")
    for model in MODELS:
        if not model._default_manager.exists():
            rows.make(model, 1)


def messages_of(response: Any) -> list[str]:
    """What the page after an action says."""
    return [str(message) for message in response.context["messages"]]
