"""Idempotency-Key: one execution, one answer, also where processes die in between."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now
from rest_framework.exceptions import NotFound
from rest_framework.test import APIClient

from apps.inventory import services as inventory
from apps.inventory.models import Product
from apps.orders.models import Order
from apps.payments.models import TestCharge
from apps.payments.providers import TestProvider
from apps.users.models import User
from severable.api.abandoned import abandoned
from severable.api.idempotency import purge_old_keys
from severable.api.models import IdempotencyKey
from severable.saga.models import Saga
from tests.conftest import ClientFor, MakeUser
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
        assert again.get(name) == first.get(name)


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
        "apps.orders.services._as_paid",
        "severable.api.idempotency.Idempotent._store",
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


# The database dies in a request


@contextmanager
def no_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Give a function after whose call every statement of every thread fails, until the end."""

    def gone(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as down:

        def die(*args: Any, **kwargs: Any) -> None:
            down.setattr(CursorWrapper, "execute", gone)
            gone()

        yield die


def restock(client: APIClient, key: str = KEY) -> Any:
    path, headers = "/api/inventory/products/MUG/restock", {"Idempotency-Key": key}
    return client.post(path, {"quantity": 5}, headers=headers)


@pytest.fixture
def stocker(make_user: MakeUser, mug: Product, client_for: ClientFor) -> Iterator[APIClient]:
    made = client_for(make_user("stocker", granted=["inventory:write"]))
    made.raise_request_exception = False
    yield made
    abandoned.wait()  # its thread must not meet the next test's database


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "where",
    [
        "severable.api.idempotency._claim",
        "apps.inventory.services.restock",
        "severable.api.idempotency.Idempotent._store",
    ],
)
@pytest.mark.parametrize("first", ["before", "after"])
def test_a_key_is_usable_at_once_when_the_database_is_back(
    stocker: APIClient, monkeypatch: pytest.MonkeyPatch, where: str, first: str
) -> None:
    """The lock could not be released either, and answered 409 for another 30 seconds."""
    module, _, name = where.rpartition(".")
    owner = pkgutil.resolve_name(module)
    real = getattr(owner, name)
    with no_database(monkeypatch) as die, monkeypatch.context() as dying:

        def dies(*args: Any, **kwargs: Any) -> None:
            if first == "after":  # what was done is committed, and the answer to it is lost
                real(*args, **kwargs)
            die()

        dying.setattr(owner, name, dies)
        answer = restock(stocker)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"]

    again = restock(stocker)
    assert (again.status_code, again.json()["available"]) == (200, 15)
    assert_same(again, restock(stocker))


@pytest.mark.django_db(transaction=True)
def test_of_twenty_repetitions_after_an_outage_one_is_executed(
    stocker: APIClient, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is known to be abandoned is taken over by one of them."""
    with no_database(monkeypatch) as die, monkeypatch.context() as dying:
        dying.setattr("apps.inventory.services.restock", die)
        assert restock(stocker).status_code == 503

    executed = []
    real = inventory.restock
    monkeypatch.setattr(
        "apps.inventory.services.restock", lambda **how: executed.append(1) or real(**how)
    )
    user = User.objects.get(username="stocker")
    statuses = {a.status_code for a in together(20, lambda _: restock(client_for(user)))}

    assert 200 in statuses <= {200, 409}
    assert len(executed) == 1


@pytest.mark.django_db(transaction=True)
def test_another_process_takes_the_key_when_the_database_is_back(
    stocker: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the failed process knows must reach the others through the database."""
    with no_database(monkeypatch) as die, monkeypatch.context() as dying:
        dying.setattr("apps.inventory.services.restock", die)
        assert restock(stocker).status_code == 503

    abandoned.wait()
    assert not IdempotencyKey.objects.filter(locked_until__gt=Now()).exists()


@pytest.mark.parametrize("error", [OperationalError("late"), NotFound("late")])
def test_a_late_failure_does_not_free_a_key_that_another_run_has_taken_over(
    stocker: APIClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It unlocked, or deleted, the claim of the run that goes on: a third one began beside it."""

    def fails_late(**how: Any) -> None:
        IdempotencyKey.objects.update(locked_until=Now())
        late.setattr("apps.inventory.services.restock", killed)
        with pytest.raises(Killed):
            restock(stocker)  # it holds the key now
        raise error

    with monkeypatch.context() as late:
        late.setattr("apps.inventory.services.restock", fails_late)
        restock(stocker)

    answer = restock(stocker)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_flight")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server")
@pytest.mark.django_db(transaction=True)
def test_a_session_that_the_server_ends_is_503_and_the_key_is_free(
    stocker: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(**how: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as dying:
        dying.setattr("apps.inventory.services.restock", ended)
        answer = restock(stocker)
    connection.close()  # as at the end of each request

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert restock(stocker).status_code == 200


# What a key belongs to


def test_a_key_belongs_to_the_context_that_owns_the_route(
    mug: Product, staff: User, client_for: ClientFor
) -> None:
    """In one process the contexts shared one namespace: 200, 422, 422, unlike in a split."""
    client = client_for(staff)
    credit = client.patch(
        f"/api/users/{staff.id}/credit", {"amount": 5000}, headers={"Idempotency-Key": KEY}
    )

    assert (restock(client).status_code, credit.status_code) == (200, 200)
    assert place(client).status_code == 201
    assert set(IdempotencyKey.objects.values_list("context", flat=True)) == {
        "inventory",
        "users",
        "orders",
    }


SIGN_UP = {
    "username": "carol",
    "password": "correct horse battery",
    "name": "Carol",
    "email": "carol@example.com",
    "address": "",
}


def sign_up(anonymous: APIClient, elsewhere: bool = False, **other: str) -> Any:
    extra = {"REMOTE_ADDR": "203.0.113.9"} if elsewhere else {}
    headers = {"Idempotency-Key": KEY}
    return anonymous.post("/api/users", SIGN_UP | other, headers=headers, **extra)


def test_a_fingerprint_does_not_tell_the_password_to_those_who_read_it(
    db: None, anonymous: APIClient
) -> None:
    """A plain digest over the body let anybody with the row guess at the password."""
    answer = sign_up(anonymous)
    body = answer.wsgi_request.body
    guesses = [body, b"POST /api/users\n" + body]

    stored = IdempotencyKey.objects.get().fingerprint
    assert stored not in {hashlib.sha256(guess).hexdigest() for guess in guesses}


def test_after_a_rotation_of_the_secret_key_a_repetition_is_recognized(
    db: None, anonymous: APIClient, client: APIClient, settings: Any
) -> None:
    first, order = sign_up(anonymous), place(client)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 8

    assert_same(first, sign_up(anonymous))
    assert_same(order, place(client))
    assert place(client, quantity=2).json()["code"] == "key_reused"


def test_a_sign_up_is_repeated_from_another_network(db: None, anonymous: APIClient) -> None:
    """A phone changes its network between two tries."""
    assert_same(sign_up(anonymous), sign_up(anonymous, elsewhere=True))
    assert User.objects.filter(username="carol").count() == 1


def test_a_stranger_with_the_same_key_learns_nothing(db: None, anonymous: APIClient) -> None:
    """All anonymous clients shared one namespace: 422 told that a key was in use, and who had
    taken it kept others from using it."""
    sign_up(anonymous)
    theirs = sign_up(anonymous, elsewhere=True, username="dave", email="dave@example.com")

    assert (theirs.status_code, theirs.json()["username"]) == (201, "dave")
    assert_same(theirs, sign_up(anonymous, True, username="dave", email="dave@example.com"))


def test_a_client_that_reuses_its_key_for_another_sign_up_is_told(
    db: None, anonymous: APIClient
) -> None:
    sign_up(anonymous)
    other = sign_up(anonymous, username="dave", email="dave@example.com")

    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


@pytest.mark.django_db(transaction=True)
def test_of_many_equal_sign_ups_from_two_networks_one_is_executed() -> None:
    answers = together(10, lambda n: sign_up(APIClient(), elsewhere=bool(n % 2)))

    assert {a.status_code for a in answers} <= {201, 409}
    assert len({a.content for a in answers if a.status_code == 201}) == 1
    assert {a.json()["code"] for a in answers if a.status_code == 409} <= {"in_flight"}
