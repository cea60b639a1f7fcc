"""Errors are problems (RFC 9457) that say nothing of the inside; every answer has an id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from django.db.backends.utils import CursorWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.test import RequestFactory
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.users.models import User
from severable.events.models import Event
from shop.wsgi import application
from tests.conftest import ClientFor

SECRET = "SELECT password FROM /site-packages/users"
PRODUCT = "/api/inventory/products/MUG"


@pytest.fixture
def client(db: None) -> APIClient:
    return APIClient(raise_request_exception=False)


def assert_problem(answer: Any, status: int, code: str) -> None:
    body = answer.json()
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert (body["status"], body["code"], body["type"]) == (status, code, "about:blank")
    assert body["title"]
    assert body["detail"]
    assert UUID(hex=body["trace_id"]).int
    assert answer["X-Request-ID"]


Ask = Callable[[APIClient], Any]
ASKED: dict[str, tuple[Ask, int, str]] = {
    "no such address": (lambda c: c.get("/api/nothing"), 404, "not_found"),
    "outside of the API": (lambda c: c.get("/nothing"), 404, "not_found"),
    "with a slash": (lambda c: c.post("/api/orders/"), 404, "not_found"),
    "any letters": (lambda c: c.get("/api/😀/ÿ/%00"), 404, "not_found"),
    "no such product": (lambda c: c.get(PRODUCT), 404, "product_not_found"),
    "no such page": (lambda c: c.get("/api/inventory/products?page=9"), 404, "not_found"),
    "no such format": (lambda c: c.get(f"{PRODUCT}?format=xml"), 404, "not_found"),
    "no such method": (lambda c: c.put(PRODUCT), 405, "method_not_allowed"),
    "another media type": (
        lambda c: c.get(PRODUCT, headers={"Accept": "application/xml"}),
        406,
        "not_acceptable",
    ),
    "media type in": (
        lambda c: c.post("/api/users", "<x/>", content_type="text/xml"),
        415,
        "unsupported_media_type",
    ),
    "not signed in": (lambda c: c.get("/api/orders"), 401, "not_authenticated"),
}


@pytest.mark.parametrize(("ask", "status", "code"), ASKED.values(), ids=ASKED)
def test_what_cannot_be_answered_is_a_problem(
    client: APIClient, ask: Ask, status: int, code: str
) -> None:
    assert_problem(ask(client), status, code)


def test_a_host_that_is_none_is_a_problem(client: APIClient) -> None:
    answer = client.get("/api/orders", headers={"Host": "a b"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.django_db
@pytest.mark.parametrize("charset", ["zip", "hex", "klingon", "utf-16", "undefined"])
def test_the_charset_of_no_body_is_not_asked_for(charset: str) -> None:
    """Django breaks on it before any middleware: the server's own 500 page is the answer."""
    media = f"text/plain; charset={charset}"
    environ = RequestFactory().get("/health/live?a=b").environ | {"CONTENT_TYPE": media}
    answered: list[str] = []
    application(environ, lambda status, headers: answered.append(status))

    assert answered == ["200 OK"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError(SECRET), 500, "internal_error"),
        (KeyError(SECRET), 500, "internal_error"),
        (OperationalError(SECRET), 503, "unavailable"),
        (InterfaceError(SECRET), 503, "unavailable"),
        (InternalError(SECRET), 503, "unavailable"),
        (ProgrammingError(SECRET), 500, "internal_error"),
        (IntegrityError(SECRET), 500, "internal_error"),
    ],
)
def test_what_breaks_tells_nothing_of_the_inside(
    client: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def broken(sku: str) -> None:
        raise error

    monkeypatch.setattr("apps.inventory.queries.product", broken)
    logging.getLogger("django.request").disabled = True
    answer = client.get(PRODUCT)
    logging.getLogger("django.request").disabled = False

    assert_problem(answer, status, code)
    assert SECRET not in answer.content.decode()
    assert answer.has_header("Retry-After") == (status == 503)


@pytest.mark.parametrize("path", ["/admin/", "/api/orders", "/api/login/?next=/"])
def test_a_database_that_is_gone_is_503_in_middleware_and_pages_too(
    alice: User, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Only what DRF's views raised was 503: the session's middleware and the pages were 500."""

    def gone(*args: Any, **kwargs: Any) -> None:
        raise InterfaceError(SECRET)

    client = APIClient(raise_request_exception=False)
    client.force_login(alice)
    logging.getLogger("django.request").disabled = True
    with monkeypatch.context() as down:
        down.setattr(CursorWrapper, "execute", gone)
        answer = client.post(path, {"username": "alice", "password": "x"}, format="multipart")
    logging.getLogger("django.request").disabled = False

    assert_problem(answer, 503, "unavailable")
    assert SECRET not in answer.content.decode()
    assert answer["Retry-After"]


def test_a_browser_session_needs_a_csrf_token_to_change_something(alice: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(alice)

    assert_problem(client.patch(f"/api/users/{alice.id}", {"name": "x"}), 403, "permission_denied")


@pytest.mark.parametrize("given", ["abcd-1234", "A.b:c_d-" * 8])
def test_a_request_id_that_is_given_is_kept_and_carried(
    mug: Product, alice: User, client_for: ClientFor, given: str
) -> None:
    body = {"items": [{"sku": "MUG", "quantity": 1}], "payment": {"method": "credit"}}
    answer = client_for(alice).post("/api/orders", body, headers={"X-Request-ID": given})
    created = Event.objects.get(type="order.OrderCreated")

    assert answer["X-Request-ID"] == created.correlation_id == given
    assert created.actor == f"user-{alice.id}"


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "two words", "a\nb-c-d-e-f", "<script>"])
@pytest.mark.parametrize("path", ["/health/live", "/api/nothing"])
def test_any_other_request_id_is_replaced(client: APIClient, given: str, path: str) -> None:
    answered = client.get(path, headers={"X-Request-ID": given})["X-Request-ID"]

    assert UUID(answered).version == 7


def test_a_healthy_process_says_so(client: APIClient) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {
        "status": "ok",
        "checks": {"database": "ok", "keys": "ok", "process": "ok"},
    }


def test_a_process_whose_database_lacks_a_migration_is_not_ready(client: APIClient) -> None:
    MigrationRecorder.Migration.objects.filter(app="users").last().delete()  # type: ignore[union-attr]
    answer = client.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "1 migrations missing"


def test_a_process_without_a_database_lives_but_is_not_ready(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*args: Any) -> None:
        raise OperationalError(SECRET)

    monkeypatch.setattr("severable.api.health.MigrationExecutor", down)
    answer = client.get("/health/ready")

    assert (answer.status_code, client.get("/health/live").status_code) == (503, 200)
    assert SECRET not in answer.content.decode()


@pytest.mark.parametrize("path", ["/nowhere", "/admin/nowhere/", "/health/nowhere"])
def test_a_browser_gets_a_page_where_nothing_is(staff: User, client: APIClient, path: str) -> None:
    """Somebody who follows a link that is wrong and reads JSON."""
    staff.is_staff = True
    staff.save()
    client.force_login(staff)
    answer = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing at this address." in answer.content.decode()
    assert_problem(client.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/nowhere", "/internal/nowhere", "/.well-known/nowhere"])
def test_the_api_answers_a_browser_with_a_problem_too(client: APIClient, path: str) -> None:
    assert_problem(client.get(path, headers={"Accept": "text/html"}), 404, "not_found")
