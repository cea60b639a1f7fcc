"""Idempotency-Key: one execution, one answer, also where processes die in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.orders.models import Order
from apps.payments.models import TestCharge
from apps.payments.providers import TestProvider
from apps.users.models import User
from shop.api.idempotency import purge_old_keys
from shop.api.models import IdempotencyKey
from shop.saga.models import Saga
from tests.conftest import ClientFor
from tests.threads import together

pytestmark = pytest.mark.django_db

KEY = "an-order-of-mine"


def place(client: APIClient, key: str = KEY, quantity: Any = 1, token: str = "tok_visa") -> Any:
    body = {
        "items": [{"sku": "MUG", "quantity": quantity}],
        "payment": {"method": "card", "token": token},
    }
    return client.post("/api/orders", body, headers={"Idempotency-Key": key})


@pytest.fixture
def client(alice: User, mug: Product, client_for: ClientFor) -> APIClient:
    made = client_for(alice)
    made.raise_request_exception = False
    return made


def assert_same(first: Any, again: Any) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("Content-Type", "Location"):
        assert again[name] == first[name]


def done() -> tuple[int, int]:
    return Order.objects.count(), TestCharge.objects.filter(state="charged").count()


@pytest.mark.parametrize("token", ["tok_visa", "tok_declined"])
def test_the_same_request_gets_the_same_answer(client: APIClient, token: str) -> None:
    first = place(client, token=token)
    Order.objects.update(total=1)  # what has changed since does not show

    assert_same(first, place(client, token=token))
    assert Order.objects.count() == 1


def test_without_a_key_each_request_counts(client: APIClient) -> None:
    for _ in range(2):
        client.post("/api/inventory/products/MUG/restock", {"quantity": 1})
    body = {"items": [{"sku": "MUG", "quantity": 1}], "payment": {"method": "credit"}}
    answers = [client.post("/api/orders", body) for _ in range(2)]

    assert answers[0].json()["order_id"] != answers[1].json()["order_id"]


@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_are_one_order(client: APIClient, client_for: ClientFor, alice: User) -> None:
    answers = together(50, lambda _: place(client_for(alice)))
    statuses = {answer.status_code for answer in answers}

    assert 201 in statuses <= {201, 409}
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"in_flight"}
    assert len({a.content for a in answers if a.status_code == 201}) == 1
    assert done() == (1, 1)


def test_another_request_with_a_key_that_was_used_is_refused(client: APIClient) -> None:
    order = place(client).json()
    other_body = place(client, quantity=2)
    other_path = client.post(f"/api/orders/{order['id']}/cancel", headers={"Idempotency-Key": KEY})

    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["code"]) == (422, "key_reused")
    assert Order.objects.get().status == "paid"


def test_a_request_that_is_still_being_worked_on_is_not_begun_again(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile = []
    charge = TestProvider.charge

    def charge_slowly(self: TestProvider, **how: Any) -> None:
        meanwhile.append(place(client))
        charge(self, **how)

    monkeypatch.setattr(TestProvider, "charge", charge_slowly)
    first = place(client)

    assert (meanwhile[0].status_code, meanwhile[0].json()["code"]) == (409, "in_flight")
    assert (first.status_code, done()) == (201, (1, 1))


def test_two_users_may_choose_the_same_key(
    client: APIClient, bob: User, client_for: ClientFor
) -> None:
    mine, theirs = place(client), place(client_for(bob))

    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert theirs.json()["user_id"] == bob.id


@pytest.mark.django_db(transaction=True)
def test_bad_requests_at_the_same_time_do_not_break_each_other(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    """The key that one finds taken may be free again when it looks."""
    for number in range(5):
        answers = together(8, lambda _, n=number: place(client_for(alice), f"key-{n}", 0))  # type: ignore[misc]

        assert {answer.status_code for answer in answers} <= {400, 409}


@pytest.mark.parametrize("wrong", [{"quantity": 0}, {"quantity": None}])
def test_a_request_that_was_not_understood_leaves_the_key_free(
    client: APIClient, wrong: dict[str, Any]
) -> None:
    assert place(client, **wrong).status_code == 400
    assert place(client).status_code == 201


def test_a_request_that_was_not_allowed_leaves_the_key_free(
    client: APIClient, alice: User, client_for: ClientFor
) -> None:
    path, headers = "/api/inventory/products/MUG/restock", {"Idempotency-Key": KEY}
    refused = client.post(path, {"quantity": 1}, headers=headers)
    User.objects.update(granted=["inventory:write"])
    alice.refresh_from_db()
    allowed = client_for(alice).post(path, {"quantity": 1}, headers=headers)

    assert (refused.status_code, allowed.status_code) == (403, 200)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "nul\0", "esc\x1b"])
def test_a_key_that_is_none_is_refused(client: APIClient, key: str) -> None:
    answer = place(client, key=key)

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert not Order.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, "two words", "é"])
def test_a_key_may_be_any_printable_text(client: APIClient, key: str) -> None:
    assert_same(place(client, key=key), place(client, key=key))


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("a bug"), 500), (OperationalError("no database"), 503)]
)
def test_a_failure_of_ours_is_no_answer(
    client: APIClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """The client repeats the request, and must not get the failure for ever."""

    def fail(**kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("apps.orders.services.place", fail)
        assert place(client).status_code == status

    assert place(client).status_code == 201
    assert done() == (1, 1)


class Killed(BaseException):
    """What ends a process is not caught by anything that handles errors."""


def killed(*args: Any, **kwargs: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    "where",
    [
        "apps.orders.services.place",
        "apps.inventory.services.reserve",
        "apps.payments.services.provider",
        "apps.payments.services._settle_paid",
        "apps.orders.services.queries.order",
        "shop.api.idempotency.Idempotent._keep",
    ],
)
def test_after_a_crash_the_same_request_goes_on_where_it_was(
    client: APIClient, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(where, killed)
        with pytest.raises(Killed):
            place(client)
    assert place(client).json()["code"] == "in_flight"

    IdempotencyKey.objects.update(locked_until=Now())
    Saga.objects.filter(state="waiting").update(due_at=Now())
    answer = place(client)

    assert (answer.status_code, answer.json()["status"]) == (201, "paid")
    assert_same(answer, place(client))
    assert done() == (1, 1)


def test_a_key_is_forgotten_after_a_day(client: APIClient) -> None:
    place(client)
    purge_old_keys()
    kept = place(client)
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))
    purge_old_keys()

    assert kept["Idempotency-Replayed"] == "true"
    assert not place(client).has_header("Idempotency-Replayed")
    assert Order.objects.count() == 2
