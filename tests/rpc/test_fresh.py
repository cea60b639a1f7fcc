"""What leaves a lasting trace is asked of its owner, also in a deployment that caches answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core import mail
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.orders import queries
from apps.orders.models import Parcel
from apps.users import confirmations, services
from apps.users import queries as users
from apps.users.models import User
from severable.caching.stubs import cached_stub
from severable.rpc.client import stubs
from tests.conftest import ClientFor
from tests.machine import settle
from tests.rpc.channels import listening

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["one process", "rest", "grpc"])
def client(
    request: Any, settings: Any, alice: User, mug: Product, client_for: ClientFor
) -> Iterator[APIClient]:
    """Alice, in one process, and where orders and notifications call users over a wire.

    The events that invalidate cached answers never arrive here, as if the broker were slow.
    """
    caches = (stubs.channel_to, stubs.stub, cached_stub)
    if request.param == "one process":
        yield client_for(alice)
        return
    with listening(request.param) as address:
        split = dict(settings.TOPOLOGY.placements["split"])
        split["users"] = replace(split["users"], http=(address,), grpc=(address,))
        here = replace(
            split["orders"], contexts=("orders", "inventory", "payments", "notifications")
        )
        placements = {"split": split | {"orders": here}}
        settings.TOPOLOGY = replace(settings.TOPOLOGY, placements=placements)
        settings.DEPLOYMENT, settings.PLACEMENT = here, "split"
        settings.CHANNEL = request.param
        for cache in caches:
            cache.cache_clear()
        yield client_for(alice)
    for cache in caches:
        cache.cache_clear()


def order(client: APIClient) -> int:
    """Place an order and carry out all that follows. Returns the answer's HTTP status."""
    body = {
        "items": [{"sku": "MUG", "quantity": 1}],
        "payment": {"method": "card", "token": "tok_visa"},
    }
    status: int = client.post("/api/orders", body).status_code
    settle()
    return status


def mails() -> list[str]:
    """The addresses of the mails since the last time."""
    to = [sent.to[0] for sent in mail.outbox]
    mail.outbox.clear()
    return to


def test_the_parcel_goes_to_the_address_of_now(client: APIClient, alice: User) -> None:
    """An order that is placed right after a change of address goes to the old address."""
    order(client)
    client.patch(f"/api/users/{alice.id}", {"address": "2 New Street"})
    order(client)

    parcels = Parcel.objects.order_by("order__created_at").values_list("address", flat=True)
    assert list(parcels) == ["1 Market Street", "2 New Street"]


def test_mails_are_sent_as_is_wanted_now(client: APIClient, alice: User) -> None:
    """Mails after an opt-out, none after an opt-in."""
    sent = []
    for wanted in (True, False, True):
        body = {"order_mails": wanted, "account_mails": True}
        client.put(f"/api/users/{alice.id}/preferences", body)
        settle()
        mails()
        order(client)
        sent.append(len(mails()))

    assert sent == [2, 0, 2]


def test_mails_go_to_the_address_of_now(client: APIClient, alice: User) -> None:
    """A mail to the e-mail address that its owner has given up."""
    order(client)
    services.update_profile(user_id=alice.id, email="new@example.com")
    confirmations.confirm_by_staff(user_id=alice.id)
    settle()
    mails()
    order(client)

    assert set(mails()) == {"new@example.com"}


def test_who_may_not_order_any_more_does_not(client: APIClient, alice: User) -> None:
    """Orders of a user who has been deactivated."""
    assert order(client) == 201
    access: dict[str, Any] = {"is_staff": False, "is_superuser": False, "granted": []}
    services.set_access(user_id=alice.id, is_active=False, **access)

    assert order(client) == 422


def test_what_is_only_shown_is_asked_once(
    client: APIClient, alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that nothing uses: each look at an order asks users for the customer's name."""
    asked = []

    def user(user_id: int) -> User:
        asked.append(user_id)
        return User.objects.get(id=user_id)

    monkeypatch.setattr(users, "user", user)
    apart = settings.PLACEMENT == "split"

    assert {queries.customer_name(alice.id) for _ in range(3)} == {"Alice"}
    assert len(asked) == (1 if apart else 3)


def test_staff_see_the_number_of_a_customer_whom_nobody_knows(client: APIClient) -> None:
    """A page of the admin that fails because users are away."""
    assert queries.customer_name(999) == "user 999"
