"""Profiles, preferences and store credit, over the public API."""

from __future__ import annotations

from typing import Any

import pytest
from django.forms import model_to_dict
from rest_framework.test import APIClient

from apps.users.models import User
from severable.events.models import Event
from tests.conftest import ClientFor, MakeUser
from tests.threads import together

pytestmark = pytest.mark.django_db


def events(type: str) -> int:
    return Event.objects.filter(type=type).count()


def test_a_profile_changes_where_something_is_given(alice: User, client_for: ClientFor) -> None:
    path = f"/api/users/{alice.id}"
    answer = client_for(alice).patch(path, {"email": "Al@Example.com"})

    assert answer.status_code == 200
    assert answer.json()["email"] == "al@example.com"
    assert (answer.json()["name"], answer.json()["address"]) == (alice.name, alice.address)
    assert client_for(alice).get(path).json() == answer.json()
    assert events("user.UserUpdated") == 1


@pytest.mark.parametrize("body", [{}, {"name": "Alice"}, {"email": "ALICE@example.com"}])
def test_nothing_is_told_where_nothing_changes(
    alice: User, client_for: ClientFor, body: dict[str, str]
) -> None:
    assert client_for(alice).patch(f"/api/users/{alice.id}", body).status_code == 200
    assert events("user.UserUpdated") == 0


@pytest.mark.parametrize("email", ["bob@example.com", "BOB@example.com"])
def test_another_ones_email_is_taken(
    alice: User, bob: User, client_for: ClientFor, email: str
) -> None:
    User.objects.filter(id=bob.id).update(email="Bob@Example.com")  # as an admin may type it
    answer = client_for(alice).patch(f"/api/users/{alice.id}", {"email": email})

    assert (answer.status_code, answer.json()["field"]) == (409, "email")


def test_what_is_not_of_the_profile_stays(alice: User, client_for: ClientFor) -> None:
    client_for(alice).patch(
        f"/api/users/{alice.id}",
        {"credit": 99, "is_staff": True, "granted": ["users:credit"], "username": "x", "id": 5},
    )

    assert model_to_dict(User.objects.get(id=alice.id)) == model_to_dict(alice)


@pytest.mark.parametrize(
    ("method", "rest"),
    [("get", ""), ("patch", ""), ("get", "/preferences"), ("put", "/preferences")],
)
def test_others_do_not_exist(
    alice: User, bob: User, client_for: ClientFor, method: str, rest: str
) -> None:
    """An answer that differs for those who exist tells who is a customer."""
    for user_id in (bob.id, 10**18):
        answer = getattr(client_for(alice), method)(f"/api/users/{user_id}{rest}", {})

        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


def test_those_who_give_credit_see_whom_they_give_it(
    alice: User, staff: User, client_for: ClientFor
) -> None:
    assert client_for(staff).get(f"/api/users/{alice.id}").json()["username"] == "alice"
    assert client_for(staff).patch(f"/api/users/{alice.id}", {"name": "x"}).status_code == 404


def test_preferences_are_kept(alice: User, client_for: ClientFor) -> None:
    path = f"/api/users/{alice.id}/preferences"
    client = client_for(alice)
    before = client.get(path).json()
    answer = client.put(path, {"order_mails": False, "account_mails": True})

    assert before == {"order_mails": True, "account_mails": True}
    assert answer.json() == client.get(path).json() == before | {"order_mails": False}
    assert events("user.PreferencesChanged") == 1


@pytest.mark.parametrize(
    "body", [{}, {"order_mails": True}, {"order_mails": 7, "account_mails": []}]
)
def test_preferences_are_whole_and_true_or_false(
    alice: User, client_for: ClientFor, body: dict[str, Any]
) -> None:
    answer = client_for(alice).put(f"/api/users/{alice.id}/preferences", body)

    assert answer.status_code == 400


def test_credit_is_given_and_taken_by_those_who_may(
    alice: User, staff: User, client_for: ClientFor
) -> None:
    path = f"/api/users/{alice.id}/credit"

    assert client_for(alice).patch(path, {"amount": 100}).status_code == 403
    assert client_for(staff).patch(path, {"amount": 100}).json()["credit"] == 100
    assert client_for(staff).patch(path, {"amount": -40}).json()["credit"] == 60
    assert client_for(staff).patch("/api/users/999/credit", {"amount": 1}).status_code == 404


def test_credit_is_never_negative(make_user: MakeUser, staff: User, client_for: ClientFor) -> None:
    alice = make_user("alice", credit=50)
    answer = client_for(staff).patch(f"/api/users/{alice.id}/credit", {"amount": -51})

    assert (answer.status_code, answer.json()["balance"]) == (402, "50")
    assert User.objects.get(id=alice.id).credit == 50


def test_credit_given_twice_with_one_key_is_given_once(
    alice: User, staff: User, client_for: ClientFor
) -> None:
    client, path = client_for(staff), f"/api/users/{alice.id}/credit"
    first, second = (
        client.patch(path, {"amount": 100}, headers={"Idempotency-Key": "gift"}) for _ in range(2)
    )

    assert first.content == second.content
    assert User.objects.get(id=alice.id).credit == 100


@pytest.mark.django_db(transaction=True)
def test_an_email_that_two_take_at_once_goes_to_one(
    alice: User, bob: User, client_for: ClientFor
) -> None:
    users = [alice, bob]

    def take(number: int) -> int:
        path = f"/api/users/{users[number].id}"
        answer = client_for(users[number]).patch(path, {"email": "same@example.com"})
        return int(answer.status_code)

    assert sorted(together(2, take)) == [200, 409]


def test_me_is_who_asks(alice: User, client_for: ClientFor, anonymous: APIClient) -> None:
    assert client_for(alice).get("/api/users/me").json()["id"] == alice.id
    assert anonymous.get("/api/users/me").status_code == 401
