"""What is no order is refused: as a problem that names the field, and never by breaking."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.orders.models import Order
from apps.users.models import User
from severable.api.auth import AccessToken
from tests.conftest import ClientFor, token_of

pytestmark = pytest.mark.django_db

CARD = {"method": "card", "token": "tok_visa"}
PATHS = ["/api/orders", "/api/admin/orders"]
INTERNALS = ("Traceback", "SELECT ", "site-packages", 'File "')


def lines(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "payment": CARD}


def of(quantity: Any) -> dict[str, Any]:
    return lines({"sku": "MUG", "quantity": quantity})


def paid_by(payment: Any) -> dict[str, Any]:
    return of(1) | {"payment": payment}


def assert_problem(answer: Any, status: int) -> dict[str, Any]:
    """It is a problem that tells nothing of the inside. Its body."""
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert not [word for word in INTERNALS if word in answer.content.decode()]
    body: dict[str, Any] = answer.json()
    assert (body["status"], len(body["trace_id"])) == (status, 32)
    return body


BAD: dict[str, tuple[Any, str]] = {
    "no items": ({"payment": CARD}, "items"),
    "items null": ({"items": None, "payment": CARD}, "items"),
    "items empty": (lines(), "items"),
    "items an object": ({"items": {"sku": "MUG", "quantity": 1}, "payment": CARD}, "items"),
    "items a string": ({"items": "MUG", "payment": CARD}, "items"),
    "1,000 items": (lines(*({"sku": f"S{n}", "quantity": 1} for n in range(1000))), "items"),
    "item a string": (lines("MUG"), "items[0]"),
    "item null": (lines(None), "items[0]"),
    "item empty": (lines({}), "items[0].sku"),
    "no quantity": (lines({"sku": "MUG"}), "items[0].quantity"),
    "quantity 0": (of(0), "items[0].quantity"),
    "quantity negative": (of(-1), "items[0].quantity"),
    "quantity 10**30": (of(10**30), "items[0].quantity"),
    "quantity of 5,000 digits": (of("9" * 5000), "items[0].quantity"),
    "quantity 1.5": (of(1.5), "items[0].quantity"),
    "quantity 1e308": (of(1e308), "items[0].quantity"),
    "quantity a word": (of("two"), "items[0].quantity"),
    "quantity true": (of(True), "items[0].quantity"),
    "quantity null": (of(None), "items[0].quantity"),
    "quantity a list": (of([1]), "items[0].quantity"),
    "quantity an object": (of({"n": 1}), "items[0].quantity"),
    "sku empty": (lines({"sku": "", "quantity": 1}), "items[0].sku"),
    "sku null": (lines({"sku": None, "quantity": 1}), "items[0].sku"),
    "sku true": (lines({"sku": True, "quantity": 1}), "items[0].sku"),
    "sku too long": (lines({"sku": "x" * 41, "quantity": 1}), "items[0].sku"),
    "sku with NUL": (lines({"sku": "MUG\0", "quantity": 1}), "items[0].sku"),
    "sku a lone surrogate": (lines({"sku": "\ud800", "quantity": 1}), "items[0].sku"),
    "second item wrong": (
        lines({"sku": "MUG", "quantity": 1}, {"sku": "JUG", "quantity": 0}),
        "items[1].quantity",
    ),
    "sku twice": (
        lines({"sku": "MUG", "quantity": 1}, {"sku": "MUG", "quantity": 2}),
        "items[1].sku",
    ),
    "no payment": ({"items": [{"sku": "MUG", "quantity": 1}]}, "payment"),
    "payment null": (paid_by(None), "payment"),
    "payment a string": (paid_by("card"), "payment"),
    "payment empty": (paid_by({}), "payment.method"),
    "method unknown": (paid_by({"method": "cash"}), "payment.method"),
    "method a list": (paid_by({"method": ["card"]}), "payment.method"),
    "method a lone surrogate": (paid_by({"method": "\ud800"}), "payment.method"),
    "a field's name": (of(1) | {"a\udfff": 1}, "a\\udfff"),
    "method null": (paid_by({"method": None}), "payment.method"),
    "card without token": (paid_by({"method": "card"}), "payment.token"),
    "token empty": (paid_by(CARD | {"token": ""}), "payment.token"),
    "token null": (paid_by(CARD | {"token": None}), "payment.token"),
    "token a number too long": (paid_by(CARD | {"token": 10**201}), "payment.token"),
    "token with NUL": (paid_by(CARD | {"token": "tok\0"}), "payment.token"),
    "token a lone surrogate": (paid_by(CARD | {"token": "tok\udfff"}), "payment.token"),
    "a list": ([], ""),
    "a string": ("order", ""),
    "null": (None, ""),
    "a number": (1, ""),
    "a lone surrogate": ("\ud800", ""),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "field"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named(
    path: str, body: Any, field: str, staff: User, client_for: ClientFor
) -> None:
    if isinstance(body, dict):
        body = body | {"user_id": staff.id}
    client = client_for(staff)
    answer = client.post(path, json.dumps(body), content_type="application/json")

    assert field in [error["field"] for error in assert_problem(answer, 400)["errors"]]
    assert not Order.objects.exists()


@pytest.mark.parametrize("user_id", [None, 0, -1, 2**31, 10**30, "me", True, [1]])
def test_an_order_for_somebody_needs_their_id(
    staff: User, mug: Product, client_for: ClientFor, user_id: Any
) -> None:
    answer = client_for(staff).post("/api/admin/orders", of(1) | {"user_id": user_id})

    assert [e["field"] for e in assert_problem(answer, 400)["errors"]] == ["user_id"]


RAW: dict[str, tuple[bytes, str, int]] = {
    "not JSON": (b"{", "application/json", 400),
    "nothing": (b"", "application/json", 400),
    "NaN": (b'{"items": NaN}', "application/json", 400),
    "Infinity": (b'{"items": [{"sku": "MUG", "quantity": Infinity}]}', "application/json", 400),
    "a number of 400 digits": (
        b'{"items": [{"sku": "MUG", "quantity": 1' + b"0" * 400 + b"}]}",
        "application/json",
        400,
    ),
    "a float beyond floats": (
        b'{"items": [{"sku": "MUG", "quantity": 1e999}]}',
        "application/json",
        400,
    ),
    "a deep nest of surrogates": (
        b'{"a":' * 900 + b'"\\ud800"' + b"}" * 900,
        "application/json",
        400,
    ),
    "endless number": (b'{"items": ' + b"9" * 10_000 + b"}", "application/json", 400),
    "nested 100,000 deep": (b"[" * 100_000, "application/json", 400),
    "nested and closed": (b"[" * 100_000 + b"]" * 100_000, "application/json", 400),
    "nested objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", 400),
    "not UTF-8": (b'{"items": "\xff\xfe"}', "application/json", 400),
    "another charset": ('{"items": "ü"}'.encode("utf-16"), "application/json", 400),
    "a charset that is none": (b"{}", "application/json; charset=zlib", 400),
    "an unknown charset": (b"{}", "application/json; charset=klingon", 400),
    "text": (b"items=1", "text/plain", 415),
    "a form": (b"items=1", "application/x-www-form-urlencoded", 415),
    "XML": (b"<order/>", "application/xml", 415),
    "no media type": (b"{}", "nonsense", 415),
    "more than 1 MB": (b'{"items": "' + b"x" * 1_048_576 + b'"}', "application/json", 413),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "media", "status"), RAW.values(), ids=RAW)
def test_what_cannot_be_read_is_refused(
    staff: User, path: str, body: bytes, media: str, status: int
) -> None:
    """With an Idempotency-Key, too: that reads the body in another way."""
    client = APIClient(raise_request_exception=False)
    for more in ({}, {"Idempotency-Key": "k"}):
        headers = {"Authorization": f"Bearer {token_of(staff)}"} | more
        answer = client.generic("POST", path, body, content_type=media, headers=headers)

        assert_problem(answer, status)


def expired(user: User) -> str:
    token = AccessToken(token_of(user))  # type: ignore[arg-type]
    token.set_exp(lifetime=-timedelta(minutes=1))
    return f"Bearer {token}"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer garbage", "Bearer a b", "expired"])
def test_nobody_orders_without_saying_who_they_are(staff: User, path: str, header: str) -> None:
    header = expired(staff) if header == "expired" else header
    answer = APIClient().post(path, of(1), headers={"Authorization": header} if header else {})

    assert_problem(answer, 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_an_order_of_unknown_things_names_the_first(
    alice: User, mug: Product, client_for: ClientFor
) -> None:
    body = lines({"sku": "MUG", "quantity": 1}, {"sku": "NONE", "quantity": 1})
    problem = assert_problem(client_for(alice).post("/api/orders", body), 422)

    assert (problem["code"], problem["field"]) == ("unknown_product", "items[1].sku")
    assert client_for(alice).get(f"/api/orders/{problem['order_id']}").json()["reason"] == (
        "unknown_product"
    )


def test_an_order_for_nobody_is_refused(staff: User, mug: Product, client_for: ClientFor) -> None:
    answer = client_for(staff).post("/api/admin/orders", of(1) | {"user_id": 999})
    problem = assert_problem(answer, 422)

    assert (problem["code"], problem["field"]) == ("unknown_user", "user_id")


def test_an_order_that_lacks_a_hundred_things_is_rejected_all_the_same(
    alice: User, client_for: ClientFor
) -> None:
    """Why it was rejected must fit its column, or the order never ends on PostgreSQL."""
    skus = [f"{'LONG' * 9}-{number:03}" for number in range(100)]
    Product.objects.bulk_create(Product(sku=sku, name=sku, unit_price=1) for sku in skus)
    body = lines(*({"sku": sku, "quantity": 1} for sku in skus))
    assert_problem(client_for(alice).post("/api/orders", body), 409)

    order = Order.objects.get()
    assert order.status == "rejected"
    order.full_clean()
