"""Whoever guesses at passwords is stopped, exactly at the limit, and nobody else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.test import APIClient

from apps.users.models import User
from severable.api.address import GATEWAY, client_address, network_of
from severable.api.limits import purge_old_attempts
from severable.api.models import Attempts
from severable.rpc import identity
from tests.conftest import MakeUser
from tests.threads import together

PASSWORD = "correct horse battery"
FAILURES, IN_ALL, TRIES = 5, 15, 40
HERE = "account alice from 127.0.0.1"
CLIENT = APIClient()

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limits(settings: Any) -> None:
    settings.SIGN_IN_FAILURES, settings.SIGN_IN_TRIES = FAILURES, TRIES
    settings.SIGN_IN_FAILURES_IN_ALL = IN_ALL


def sign_in(
    password: str = "wrong", username: str = "alice", client: APIClient = CLIENT, **headers: str
) -> Any:
    body = {"username": username, "password": password}
    return client.post("/api/auth/token", body, headers=headers)


def crowd(names: str) -> Counter[int]:
    """320 guesses by as many threads as the database has connections for. What they got."""

    def guess(thread: int) -> list[int]:
        client = APIClient()
        accounts = [names.format(n=20 * thread + n) for n in range(20)]
        return [sign_in(username=name, client=client).status_code for name in accounts]

    return Counter(chain.from_iterable(together(16, guess)))


def refresh(token: str = "garbage") -> Any:
    return CLIENT.post("/api/auth/token/refresh", {"refresh": token})


def statuses(count: int, **given: str) -> list[int]:
    return [sign_in(**given).status_code for _ in range(count)]


@pytest.mark.django_db(transaction=True)
def test_of_320_guesses_at_the_same_moment_exactly_the_limit_is_checked(
    alice: User, settings: Any
) -> None:
    """A limit that reads first and writes later lets nearly all of them through."""
    settings.SIGN_IN_TRIES = 1000

    assert crowd("alice") == {401: FAILURES, 429: 320 - FAILURES}


@pytest.mark.django_db(transaction=True)
def test_of_320_accounts_that_one_client_tries_exactly_the_limit_is_checked() -> None:
    """One password for many accounts is a guess as well."""
    assert crowd("user-{n}") == {401: TRIES, 429: 320 - TRIES}


def test_a_refused_try_says_when_to_come_back(alice: User) -> None:
    statuses(FAILURES)
    answer = sign_in(PASSWORD)

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
    assert answer["Content-Type"] == "application/problem+json"
    assert 290 < int(answer["Retry-After"]) <= 300


def test_other_accounts_sign_in_meanwhile(alice: User, bob: User) -> None:
    statuses(FAILURES + 1)

    assert sign_in(PASSWORD, "bob").status_code == 200


def test_an_account_that_is_none_is_limited_alike() -> None:
    """Else the limit would tell which names are taken."""
    assert statuses(FAILURES + 1, username="nobody") == [401] * FAILURES + [429]


def test_a_window_that_is_over_lets_in_again_and_is_purged(alice: User) -> None:
    """What is refused must not make it longer: anybody could lock anybody out for ever."""
    statuses(FAILURES)
    ends = Attempts.objects.get(key=HERE).ends_at
    statuses(3)
    assert Attempts.objects.get(key=HERE).ends_at == ends
    Attempts.objects.update(ends_at=timezone.now() - timedelta(seconds=1))

    assert statuses(FAILURES + 1) == [401] * FAILURES + [429]
    past = timezone.now() - timedelta(seconds=2)
    Attempts.objects.filter(key__startswith="account alice").update(ends_at=past)
    purge_old_attempts()
    assert [row.key for row in Attempts.objects.all()] == ["address 127.0.0.1"]


def test_a_success_forgets_the_failures_before_it(alice: User) -> None:
    for _ in range(3):
        statuses(FAILURES - 1)
        assert sign_in(PASSWORD).status_code == 200


def test_refreshes_count_with_the_tries_of_their_address(alice: User, bob: User) -> None:
    answers = [refresh().status_code for _ in range(TRIES)]

    assert answers == [401] * TRIES
    assert (refresh().status_code, sign_in(PASSWORD).status_code) == (429, 429)
    assert refresh().json()["code"] == "too_many_attempts"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "10.0.0.{n}"},
        {"X-Forwarded-For": "10.0.0.{n}, 10.1.0.{n}", "X-Real-IP": "10.0.0.{n}"},
        {"Forwarded": "for=10.0.0.{n}", "X-Client-IP": "10.0.0.{n}"},
        {"X-Forwarded-For": "10.0.0.{n}", GATEWAY: "forged"},
    ],
)
def test_no_header_of_a_clients_makes_it_another_one(headers: dict[str, str]) -> None:
    answers = [
        sign_in(username=f"u{n}", **{k: v.format(n=n) for k, v in headers.items()}).status_code
        for n in range(TRIES + 1)
    ]

    assert answers == [401] * TRIES + [429]


def test_clients_of_the_gateway_are_told_apart(alice: User) -> None:
    """Behind it all would share one limit, and one guesser would lock out everybody."""

    def status(client: str) -> int:
        headers = {"X-Forwarded-For": client, GATEWAY: identity.token()}
        answer: int = sign_in(PASSWORD, **headers).status_code
        return answer

    assert [status("203.0.113.7") for _ in range(TRIES + 1)] == [200] * TRIES + [429]
    assert status("203.0.113.8") == 200


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "9.9.9.9", "127.0.0.1"),
        (1, "9.9.9.9", "9.9.9.9"),
        (1, "spoofed, 9.9.9.9", "9.9.9.9"),
        (2, "spoofed, 9.9.9.9, 10.0.0.1", "9.9.9.9"),
        (2, "9.9.9.9", "9.9.9.9"),
        (1, "", "127.0.0.1"),
        (1, " , ", "127.0.0.1"),
    ],
)
def test_so_many_proxies_are_believed_and_no_more(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded})

    assert client_address(request) == address


@pytest.mark.parametrize(
    ("one", "another", "alike"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("", "unknown", False),
    ],
)
def test_an_ipv6_client_is_its_network(one: str, another: str, alike: bool) -> None:
    """It has 2^64 addresses to guess from."""
    assert (network_of(one) == network_of(another)) is alike


# A stranger who guesses at an account


def from_network(client: str, password: str = "wrong", username: str = "alice") -> int:
    headers = {"X-Forwarded-For": client, GATEWAY: identity.token()}
    answer: int = sign_in(password, username, **headers).status_code
    return answer


def guess_from_many(username: str = "alice") -> list[int]:
    """Try from each network as often as it may, until the account's failures are full."""
    return [
        from_network(f"198.51.100.{n}", username=username)
        for n in range(IN_ALL // FAILURES)
        for _ in range(FAILURES)
    ]


def test_a_stranger_does_not_lock_the_owner_out(alice: User) -> None:
    """Ten bad guesses from anywhere locked the account for everybody, again and again."""
    for _ in range(FAILURES + 3):
        from_network("198.51.100.1")

    assert from_network("198.51.100.1", PASSWORD) == 429
    assert from_network("203.0.113.7", PASSWORD) == 200


def test_strangers_in_many_networks_are_stopped_and_the_owners_network_is_not(alice: User) -> None:
    """A limit per network alone would let a botnet guess without end."""
    assert from_network("203.0.113.7", PASSWORD) == 200
    assert guess_from_many() == [401] * IN_ALL

    assert [from_network("198.51.100.99"), from_network("192.0.2.1", PASSWORD)] == [429, 429]
    assert from_network("203.0.113.7", PASSWORD) == 200
    assert from_network("198.51.100.99") == 429  # the owner's success lets in nobody else


def test_failures_from_a_known_network_are_limited_too(alice: User) -> None:
    assert from_network("203.0.113.7", PASSWORD) == 200

    assert [from_network("203.0.113.7") for _ in range(FAILURES + 1)] == [401] * FAILURES + [429]


def test_a_network_is_known_for_thirty_days_and_of_one_account_only(alice: User, bob: User) -> None:
    assert from_network("203.0.113.7", PASSWORD) == 200
    guess_from_many("bob")
    assert from_network("203.0.113.7", PASSWORD, "bob") == 429
    guess_from_many()
    known = Attempts.objects.filter(key__startswith="known")
    assert timedelta(days=29) < known.get().ends_at - timezone.now() <= timedelta(days=30)
    known.update(ends_at=timezone.now())

    assert from_network("203.0.113.7", PASSWORD) == 429


def test_an_account_that_is_none_is_limited_alike_from_many_networks() -> None:
    assert guess_from_many("nobody") == [401] * IN_ALL
    assert from_network("192.0.2.1", username="nobody") == 429


@pytest.mark.django_db(transaction=True)
def test_of_many_networks_at_the_same_moment_exactly_the_limit_is_checked(
    alice: User, settings: Any
) -> None:
    settings.SIGN_IN_FAILURES_IN_ALL = 25

    answers = together(16, lambda n: [from_network(f"198.51.100.{n}") for _ in range(FAILURES)])

    assert Counter(chain.from_iterable(answers)) == {401: 25, 429: 16 * FAILURES - 25}


def test_the_longest_name_from_the_longest_network_is_counted(db: None) -> None:
    """A key that is too long for its column would be a 500 on PostgreSQL."""
    network = "2001:0db8:aaaa:bbbb:cccc:dddd:eeee:ffff"

    assert from_network(network, username="é" * 150) == 401
    assert from_network("x" * 500, username="é" * 150) == 401


# The pages


@pytest.fixture(params=["/admin/login/", "/api/login/"])
def page(request: Any, make_user: MakeUser) -> Iterator[str]:
    make_user("boss")
    User.objects.filter(username="boss").update(is_staff=True)
    yield request.param


def open_with(page: str, password: str) -> Any:
    return Client().post(page, {"username": "boss", "password": password})


def test_the_pages_are_limited_with_the_api_and_say_so(page: str) -> None:
    assert open_with(page, PASSWORD).status_code == 302
    statuses(FAILURES - 1, username="boss")
    assert "too many attempts" not in open_with(page, "wrong").content.decode()
    refused = open_with(page, PASSWORD)

    assert (refused.status_code, "sessionid" in refused.cookies) == (200, False)
    assert "There were too many attempts." in refused.content.decode()
    assert sign_in(PASSWORD, "boss").status_code == 429


def test_a_form_without_a_password_is_no_success(page: str) -> None:
    """It would let its sender begin again after each guess."""
    statuses(FAILURES, username="boss")
    open_with(page, "")

    assert sign_in("wrong", "boss").status_code == 429
