"""Who may do what: every route, for everybody. A route that is not listed here fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.urls import resolve
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.users.models import User
from severable.api.idempotency import Idempotent
from tests.api.routes import served
from tests.conftest import ClientFor

pytestmark = pytest.mark.django_db

ITEMS = [{"sku": "MUG", "quantity": 1}]
ORDER = {"items": ITEMS, "payment": {"method": "card", "token": "tok_visa"}}
SIGN_IN = {"username": "alice", "password": "correct horse battery"}
CAROL = SIGN_IN | {"username": "carol", "name": "Carol", "email": "carol@example.com"}
PREFERENCES = {"order_mails": False, "account_mails": False}
REFRESH = {"refresh": "garbage"}

PUBLIC = (200, 200, 200, 200)
OWN = (401, 200, 200, 200)  # each sees their own
OWNER = (401, 404, 200, 404)
OWNER_AND_STAFF = (401, 404, 200, 200)
STAFF = (401, 403, 403, 200)

# What anonymous, another customer, the owner and staff are answered, and the body that they send.
# What is in the path is the owner's.
MATRIX: dict[tuple[str, str], tuple[tuple[int, int, int, int], Any]] = {
    ("GET", "/health/live"): (PUBLIC, None),
    ("GET", "/health/ready"): (PUBLIC, None),
    ("GET", "/metrics"): (PUBLIC, None),  # in development: tests/events/test_metrics.py
    ("GET", "/api/schema"): (PUBLIC, None),
    ("GET", "/api/docs"): (PUBLIC, None),
    ("GET", "/.well-known/jwks.json"): (PUBLIC, None),
    ("POST", "/api/auth/token"): (PUBLIC, SIGN_IN),
    ("POST", "/api/auth/token/refresh"): ((401, 401, 401, 401), REFRESH),
    ("POST", "/api/auth/logout"): ((401, 401, 401, 401), REFRESH),
    ("POST", "/api/users"): ((201, 201, 201, 201), CAROL),
    ("GET", "/api/users/me"): (OWN, None),
    ("POST", "/api/users/me/email-confirmation"): ((401, 409, 409, 409), None),
    ("POST", "/api/users/confirm-email"): ((422, 422, 422, 422), {"token": "garbage"}),
    ("GET", "/api/users/<int:user_id>"): (OWNER_AND_STAFF, None),
    ("PATCH", "/api/users/<int:user_id>"): (OWNER, {"name": "Al"}),
    ("GET", "/api/users/<int:user_id>/preferences"): (OWNER, None),
    ("PUT", "/api/users/<int:user_id>/preferences"): (OWNER, PREFERENCES),
    ("PATCH", "/api/users/<int:user_id>/credit"): (STAFF, {"amount": 1}),
    ("GET", "/api/inventory/products"): (PUBLIC, None),
    ("GET", "/api/inventory/products/<sku:sku>"): (PUBLIC, None),
    ("POST", "/api/inventory/products/<sku:sku>/restock"): (STAFF, {"quantity": 1}),
    ("POST", "/api/inventory/check"): (PUBLIC, {"items": ITEMS}),
    ("GET", "/api/orders"): (OWN, None),
    ("POST", "/api/orders"): ((401, 201, 201, 201), ORDER),
    ("GET", "/api/orders/<uuid:order_id>"): (OWNER_AND_STAFF, None),
    ("POST", "/api/orders/<uuid:order_id>/cancel"): (OWNER_AND_STAFF, None),
    ("POST", "/api/orders/<uuid:order_id>/ship"): (STAFF, None),
    ("GET", "/api/orders/<uuid:order_id>/timeline"): (OWNER_AND_STAFF, None),
    ("GET", "/api/orders/<uuid:order_id>/summary"): (OWNER_AND_STAFF, None),
    ("POST", "/api/admin/orders"): ((401, 403, 403, 201), ORDER | {"user_id": 1}),
    ("GET", "/api/payments/<uuid:payment_id>"): (OWNER_AND_STAFF, None),
    ("POST", "/api/payments/<uuid:payment_id>/refund"): (STAFF, None),
    ("GET", "/api/notifications"): (OWN, None),
}
WHO = ("anonymous", "another", "owner", "staff")
# What one permission alone lets another customer do, and what it is answered. All that is not
# here stays as it is for another.
OPENS: dict[str, dict[tuple[str, str], int]] = {
    "users:credit": {
        ("GET", "/api/users/<int:user_id>"): 200,
        ("PATCH", "/api/users/<int:user_id>/credit"): 200,
    },
    "inventory:write": {("POST", "/api/inventory/products/<sku:sku>/restock"): 200},
    "payments:refund": {
        ("GET", "/api/payments/<uuid:payment_id>"): 200,
        ("POST", "/api/payments/<uuid:payment_id>/refund"): 200,
    },
    "orders:ship": {
        ("GET", "/api/orders/<uuid:order_id>"): 200,
        ("GET", "/api/orders/<uuid:order_id>/timeline"): 200,
        ("POST", "/api/orders/<uuid:order_id>/ship"): 200,
        ("POST", "/api/orders/<uuid:order_id>/cancel"): 403,  # seen, but not theirs
    },
    "admin:orders": {
        ("GET", "/api/orders/<uuid:order_id>"): 200,
        ("GET", "/api/orders/<uuid:order_id>/timeline"): 200,
        ("GET", "/api/orders/<uuid:order_id>/summary"): 200,
        ("POST", "/api/orders/<uuid:order_id>/cancel"): 200,
        ("POST", "/api/admin/orders"): 201,
    },
}
# What needs no Idempotency-Key: it changes nothing, or its answer must not be kept.
KEYLESS = {
    "/api/auth/token",
    "/api/auth/token/refresh",
    "/api/auth/logout",
    "/api/inventory/check",
    "/api/users/confirm-email",
}


@pytest.fixture
def clients(alice: User, bob: User, staff: User, client_for: ClientFor) -> dict[str, APIClient]:
    clients = [APIClient(), client_for(bob), client_for(alice), client_for(staff)]
    return dict(zip(WHO, clients, strict=True))


@pytest.fixture
def places(alice: User, mug: Product, client_for: ClientFor) -> dict[str, str]:
    order = client_for(alice).post("/api/orders", ORDER).json()
    return {
        "<int:user_id>": str(alice.id),
        "<sku:sku>": "MUG",
        "<uuid:order_id>": order["id"],
        "<uuid:payment_id>": order["payment_id"],
    }


def at(path: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        path = path.replace(name, value)
    return path


def ask(client: APIClient, method: str, path: str, places: dict[str, str]) -> Any:
    body = MATRIX[method, path][1]
    if body and "user_id" in body:
        body = body | {"user_id": int(places["<int:user_id>"])}
    return getattr(client, method.lower())(at(path, places), body)


def as_another(method: str, path: str) -> int:
    """What a customer without permissions is answered who does not own what is asked for."""
    return MATRIX[method, path][0][WHO.index("another")]


def test_every_route_is_in_the_matrix() -> None:
    """Who adds a route says here who may use it."""
    assert set(served()) == set(MATRIX)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("method", "path"), MATRIX)
def test_everybody_may_what_the_matrix_says(
    method: str, path: str, who: str, clients: dict[str, APIClient], places: dict[str, str]
) -> None:
    answer = ask(clients[who], method, path, places)

    assert answer.status_code == MATRIX[method, path][0][WHO.index(who)]
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"


def test_every_permission_is_in_the_matrix() -> None:
    assert set(OPENS) == set(settings.TOPOLOGY.permissions)


@pytest.mark.parametrize("permission", OPENS)
@pytest.mark.parametrize(("method", "path"), MATRIX)
def test_a_permission_alone_opens_what_the_matrix_says(
    method: str,
    path: str,
    permission: str,
    bob: User,
    client_for: ClientFor,
    places: dict[str, str],
) -> None:
    """Whoever may ship an order cancels anybody's; a permission to read that changes something."""
    User.objects.filter(id=bob.id).update(granted=[permission])
    bob.refresh_from_db()
    answer = ask(client_for(bob), method, path, places)

    assert answer.status_code == OPENS[permission].get((method, path), as_another(method, path))


@pytest.mark.parametrize(("method", "path"), MATRIX)
def test_the_staff_flag_alone_opens_nothing_of_the_api(
    method: str, path: str, bob: User, client_for: ClientFor, places: dict[str, str]
) -> None:
    """A view that takes the flag, which opens the admin, for a permission."""
    User.objects.filter(id=bob.id).update(is_staff=True)
    bob.refresh_from_db()
    answer = ask(client_for(bob), method, path, places)

    assert answer.status_code == as_another(method, path)


@pytest.mark.parametrize("path", sorted({path for _, path in MATRIX if path.startswith("/api")}))
def test_nothing_is_deleted_by_anybody(
    path: str, clients: dict[str, APIClient], places: dict[str, str]
) -> None:
    assert clients["staff"].delete(at(path, places)).status_code in (403, 405)


@pytest.mark.parametrize(("method", "path"), [key for key in MATRIX if key[0] == "GET"])
def test_every_page_opens_in_a_browser(
    method: str, path: str, staff: User, places: dict[str, str]
) -> None:
    """The browsable API builds forms from every view, and must find what it needs there."""
    client = APIClient()
    client.force_login(staff)
    answer = client.get(at(path, places), headers={"Accept": "text/html"})

    assert answer.status_code in (200, 404, 406)


def test_every_post_that_changes_something_takes_a_key(places: dict[str, str]) -> None:
    posts = [path for method, path in MATRIX if method == "POST" and path not in KEYLESS]

    for path in posts:
        view = resolve(at(path, places)).func
        assert issubclass(view.view_class, Idempotent), path  # type: ignore[attr-defined]
