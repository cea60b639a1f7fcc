"""One behavior: the same requests get the same answers from every placement, and behind nginx.

On servers; tests/differential compares the placements on the embedded database and broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from django.conf import settings

from tests.chaos.running import ON_SERVERS, Shop
from tests.edge.running import need_nginx, nginx

pytestmark = [ON_SERVERS, pytest.mark.xdist_group("running"), pytest.mark.timeout(400)]

CLOCK = {"sku": "CLOCK-OAK", "quantity": 2}
CARD = {"method": "card", "token": "tok_visa"}
UNKNOWN = "00000000-0000-7000-8000-000000000000"


def recorded(shop: Shop) -> dict[str, Any]:
    """What a shop answers to a journey through all of it: status, shape and codes of each."""
    answers: dict[str, Any] = {}
    alice, bob, admin = (
        shop.sign_in(n, p) for n, p in (("alice", "demo"), ("bob", "demo"), ("admin", "admin"))
    )

    def ask(name: str, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, answer = shop.request(method, path, body, **headers)
        answers[name] = (status, shape(answer))
        return answer

    def order(name: str, *items: Any, payment: Any = CARD, **headers: str) -> Any:
        body = {"items": list(items), "payment": payment}
        return ask(name, "POST", "/api/orders", body, **{**alice, **headers})

    _, document = shop.request("GET", "/api/schema?format=json")
    answers["documented"] = sorted(
        (path, method, sorted(operation["responses"]))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    ask("sign in badly", "POST", "/api/auth/token", {"username": "alice", "password": "no"})
    ask("keys", "GET", "/.well-known/jwks.json")
    ask("nobody's profile", "GET", "/api/users/me")
    ask("my profile", "GET", "/api/users/me", **alice)
    ask("products", "GET", "/api/inventory/products?search=clock&ordering=-unit_price&page_size=3")
    ask("no such product", "GET", "/api/inventory/products/N%C3%96%2FPE")
    ask("check", "POST", "/api/inventory/check", {"items": [CLOCK]})
    ask("restock", "POST", "/api/inventory/products/CLOCK-OAK/restock", {"quantity": 1}, **admin)
    ask("may not restock", "POST", "/api/inventory/products/X/restock", {"quantity": 1}, **bob)

    placed = order("paid", CLOCK)
    order("declined", CLOCK, payment=CARD | {"token": "tok_declined"})
    order("answer lost", CLOCK, payment=CARD | {"token": "tok_unknown"})
    order("with credit", CLOCK, payment={"method": "credit"})
    order("too many", {"sku": "CLOCK-OAK", "quantity": 1000})
    order("unknown product", CLOCK, {"sku": "NOPE", "quantity": 1})
    order("nothing")
    order("twice the same", CLOCK, CLOCK)
    waited = order("wait is over", CLOCK, payment=CARD | {"token": "tok_slow"}, Prefer="wait=1")
    later = order("asynchronous", CLOCK, Prefer="respond-async")
    same = {"Idempotency-Key": "the same"}
    first, again = order("with a key", CLOCK, **same), order("the same again", CLOCK, **same)
    order("the key reused", {**CLOCK, "quantity": 1}, **same)
    answers["one order a key"] = first["id"] == again["id"]

    for_nobody = {"user_id": 99999, "items": [CLOCK], "payment": CARD}
    ask("for an unknown user", "POST", "/api/admin/orders", for_nobody, **admin)
    ask("my order", "GET", f"/api/orders/{placed['id']}", **alice)
    ask("another's order", "GET", f"/api/orders/{placed['id']}", **bob)
    ask("no order", "GET", f"/api/orders/{UNKNOWN}", **alice)
    ask("another's summary", "GET", f"/api/orders/{placed['id']}/summary", **bob)
    ask("payment", "GET", f"/api/payments/{placed['payment_id']}", **alice)
    ask("ship", "POST", f"/api/orders/{placed['id']}/ship", **admin)
    ask("cancel too late", "POST", f"/api/orders/{placed['id']}/cancel", **alice)
    ask("cancel", "POST", f"/api/orders/{first['id']}/cancel", **alice)

    def status(wanted: str, order_id: str) -> bool:
        found: bool = shop.request("GET", f"/api/orders/{order_id}", **alice)[1]["status"] == wanted
        return found

    shop.eventually(lambda: status("paid", later["id"]), within=30)
    shop.eventually(lambda: status("paid", waited["id"]), within=30)
    path = f"/api/payments/{first['payment_id']}"
    shop.eventually(
        lambda: shop.request("GET", path, **alice)[1]["status"] == "refunded", within=30
    )
    shop.eventually(lambda: len(shop.mails("order.OrderShipped")) == 1, within=30)
    shop.eventually(lambda: len(shop.mails("order.OrderCancelled")) == 1, within=30)
    ask("summary", "GET", f"/api/orders/{placed['id']}/summary", **alice)
    ask("orders", "GET", "/api/orders?status=paid&page_size=2", **alice)
    ask("refund of shipped", "POST", f"/api/payments/{placed['payment_id']}/refund", **admin)
    paid = shop.request("GET", f"/api/orders/{later['id']}", **alice)[1]
    ask("refund", "POST", f"/api/payments/{paid['payment_id']}/refund", **admin)
    ask("notifications", "GET", "/api/notifications?kind=order.OrderShipped", **alice)
    ask("no such page", "GET", "/api/nowhere")
    answers["bought in the storefront"] = bought_in_the_storefront(shop.url)
    return answers


def bought_in_the_storefront(url: str) -> list[str]:
    """Buy a clock with the storefront's forms, without a script. Return the order's status."""
    browser, page = build_opener(HTTPCookieProcessor()), ""
    forms = {
        "/sign-in": {"username": "bob", "password": "demo"},
        "/basket/add": {"sku": "CLOCK-OAK", "quantity": "1"},
        "/checkout": CARD,
    }
    for path, form in forms.items():
        source = "/products/CLOCK-OAK" if path == "/basket/add" else path
        with browser.open(url + source) as answer:
            page = answer.read().decode()
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
        with browser.open(url + path, urlencode({**dict(hidden), **form}).encode()) as answer:
            page = answer.read().decode()
    return re.findall(r'<span class="status (\w+)">', page)


def shape(answer: Any) -> Any:
    """An answer without what differs from one run to the next: ids, times, tokens."""
    if isinstance(answer, dict):
        hidden = {"trace_id", "n", "kid", "next", "previous"}
        return {key: "…" if key in hidden else shape(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [shape(value) for value in answer]
    if isinstance(answer, str):
        return re.sub(
            r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{8}(?=\))|\d{4}-\d\d-\d\dT[\d:.]+Z", "…", answer
        )
    return answer


@contextmanager
def running(folder: Path, placement: str, channel: str = "grpc", **env: str) -> Iterator[Shop]:
    folder.mkdir()
    shop = Shop(folder, placement, channel, environment=env)
    try:
        shop.start()
        yield shop
    finally:
        shop.close()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the shop answers in one process."""
    with running(tmp_path_factory.mktemp("together") / "one", "one") as shop:
        return recorded(shop)


@pytest.mark.parametrize("channel", ["rest", "grpc"])
@pytest.mark.parametrize("placement", ["split", "mixed"])
def test_every_placement_answers_alike(
    tmp_path: Path, together: dict[str, Any], placement: str, channel: str
) -> None:
    with running(tmp_path / "apart", placement, channel) as shop:
        assert_alike(together, recorded(shop))


@pytest.mark.chaos
def test_the_shop_answers_alike_behind_nginx(tmp_path: Path, together: dict[str, Any]) -> None:
    """nginx sends each path to its context, and the gateway what it composes."""
    need_nginx()
    with running(tmp_path / "nginx", "split", TRUSTED_PROXIES="1") as shop:
        hosts = {name: first for name, [first, *_] in shop.addresses.items()}
        with nginx(tmp_path, settings.TOPOLOGY, "split", hosts) as address:
            shop.url = f"http://{address}"
            assert_alike(together, recorded(shop))
            assert_one_sign_in_opens_each_admin(shop)


def assert_alike(together: dict[str, Any], apart: dict[str, Any]) -> None:
    differences = {n: (together[n], apart[n]) for n in together if together[n] != apart[n]}
    for name, (here, there) in differences.items():
        print(f"{name}\n  together {here}\n  apart    {there}")  # noqa: T201
    assert differences == {}


def assert_one_sign_in_opens_each_admin(shop: Shop) -> None:
    """Behind nginx, as behind the gateway, staff type their password once."""
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(f"{shop.url}/admin/login/") as page:
        [csrf] = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page.read().decode())
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": csrf}
    browser.open(f"{shop.url}/admin/login/", urlencode(form | {"next": "/admin/"}).encode()).close()
    for path in ("", "users/", "payments/payment/", "at/orders/", "at/gateway/"):
        with browser.open(f"{shop.url}/admin/{path}") as page:
            assert page.url == f"{shop.url}/admin/{path}"
