"""Opening an account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.users.models import User
from severable.events.models import Event

pytestmark = pytest.mark.django_db

GOOD = {
    "username": "carol",
    "password": "correct horse battery",
    "name": "Carol Cook",
    "email": "carol@example.com",
    "address": "2 Market Street",
}


def register(client: APIClient, key: str | None = None, **changes: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    body = json.dumps(GOOD | changes)
    return client.post("/api/users", body, content_type="application/json", headers=headers)


def fields(answer: Any) -> set[str]:
    return {error["field"] for error in answer.json()["errors"]}


def test_a_new_account_can_sign_in_and_is_told_to_the_others(anonymous: APIClient) -> None:
    answer = register(anonymous)
    tokens = anonymous.post(
        "/api/auth/token", {"username": "carol", "password": GOOD["password"]}
    ).json()
    me = anonymous.get(answer["Location"], headers={"Authorization": f"Bearer {tokens['access']}"})

    assert answer.status_code == 201
    assert "password" not in answer.json()
    assert me.json() == answer.json()
    assert Event.objects.get(type="user.UserRegistered").data["email"] == "carol@example.com"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", "x" * 151),
        ("username", "two words"),
        ("username", None),
        ("username", "nul\0"),
        ("password", "short"),
        ("password", "password"),
        ("password", "carol.carol"),
        ("password", "x" * 201),
        ("name", "   "),
        ("name", "x" * 201),
        ("name", {"first": "Carol"}),
        ("name", "\ud800"),
        ("email", "carol"),
        ("email", f"{'c' * 60}@{'x' * 60}.{'y' * 60}.{'z' * 60}.{'a' * 60}.example.com"),
        ("email", ["carol@example.com"]),
        ("address", "x" * 501),
    ],
)
def test_a_field_that_is_wrong_is_named(anonymous: APIClient, field: str, value: Any) -> None:
    answer = register(anonymous, **{field: value})

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert fields(answer) == {field}
    assert not User.objects.exists()


def test_every_missing_field_is_named_at_once(anonymous: APIClient) -> None:
    answer = anonymous.post("/api/users", {})

    assert fields(answer) == {"username", "password", "name", "email"}


@pytest.mark.parametrize(
    ("taken", "changes"),
    [
        ("username", {"email": "other@example.com"}),
        ("username", {"email": "other@example.com", "username": "CAROL"}),
        ("email", {"username": "other"}),
        ("email", {"username": "other", "email": "Carol@Example.COM"}),
    ],
)
def test_nobody_gets_a_name_or_address_that_another_has_in_any_case(
    anonymous: APIClient, taken: str, changes: dict[str, str]
) -> None:
    register(anonymous)
    answer = register(anonymous, **changes)

    assert (answer.status_code, answer.json()["code"]) == (409, "taken")
    assert answer.json()["field"] == taken
    assert User.objects.count() == 1


def test_nobody_gives_themselves_rights_or_credit(anonymous: APIClient) -> None:
    answer = register(
        anonymous, id=77, credit=5, granted=["users:credit"], is_staff=True, is_superuser=True
    )
    user = User.objects.get()

    assert (answer.json()["credit"], answer.json()["permissions"]) == (0, [])
    assert (user.is_staff, user.is_superuser, user.id == 77) == (False, False, False)


def test_the_same_registration_twice_opens_one_account(anonymous: APIClient) -> None:
    first, second = register(anonymous, key="carol-1"), register(anonymous, key="carol-1")

    assert (second.status_code, second.content) == (201, first.content)
    assert second["Location"] == first["Location"]
    assert User.objects.count() == 1
