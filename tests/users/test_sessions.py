"""Signing in, staying signed in, and signing out."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.users.models import User
from tests.conftest import MakeUser
from tests.threads import together

PASSWORD = "correct horse battery"


def sign_in(username: str = "alice", password: str = PASSWORD) -> Any:
    return APIClient().post("/api/auth/token", {"username": username, "password": password})


def refresh(token: str) -> Any:
    return APIClient().post("/api/auth/token/refresh", {"refresh": token})


@pytest.mark.django_db
def test_signing_in_gives_a_token_that_says_what_its_owner_may(make_user: MakeUser) -> None:
    make_user("alice", granted=["orders:ship"])
    access = sign_in().json()["access"]
    me = APIClient().get("/api/users/me", headers={"Authorization": f"Bearer {access}"})

    assert (me.status_code, me.json()["permissions"]) == (200, ["orders:ship"])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("username", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("alice", PASSWORD + " ")]
)
def test_wrong_credentials_do_not_say_what_was_wrong(
    alice: User, username: str, password: str
) -> None:
    answer = sign_in(username, password)

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
    assert answer["WWW-Authenticate"]


@pytest.mark.django_db
def test_a_disabled_account_neither_signs_in_nor_stays_signed_in(alice: User) -> None:
    tokens = sign_in().json()
    User.objects.update(is_active=False)

    assert sign_in().status_code == 401
    assert refresh(tokens["refresh"]).status_code == 401


@pytest.mark.django_db
def test_a_refresh_token_that_is_used_again_ends_the_whole_session(alice: User) -> None:
    first = sign_in().json()["refresh"]
    second = refresh(first)
    stolen = refresh(first)

    assert (second.status_code, stolen.status_code) == (200, 401)
    assert refresh(second.json()["refresh"]).status_code == 401


@pytest.mark.django_db
def test_a_session_that_ends_leaves_the_others_open(alice: User) -> None:
    phone, laptop = sign_in().json()["refresh"], sign_in().json()["refresh"]
    APIClient().post("/api/auth/logout", {"refresh": phone})

    assert refresh(phone).status_code == 401
    assert refresh(laptop).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/auth/token/refresh", "/api/auth/logout"])
@pytest.mark.parametrize("token", ["garbage", "a.b.c", "é" * 40, ""])
def test_what_is_no_refresh_token_is_refused(path: str, token: str) -> None:
    answer = APIClient().post(path, {"refresh": token})

    assert answer.status_code == (401 if token else 400)


@pytest.mark.django_db
def test_an_access_token_does_not_refresh(alice: User) -> None:
    assert refresh(sign_in().json()["access"]).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_refreshes_at_the_same_time_exactly_one_wins(alice: User) -> None:
    """A copied token would otherwise give two people a session each."""
    token = sign_in().json()["refresh"]
    statuses = together(8, lambda _: refresh(token).status_code)

    assert sorted(statuses) == [200] + [401] * 7
