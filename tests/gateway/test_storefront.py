"""The storefront in one process: it buys over the public API, and loses nothing on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from apps.gateway.storefront import buying, client, session
from apps.gateway.storefront.backends import Answer, Call, Unreachable
from apps.inventory.models import Product
from apps.orders.models import Order
from apps.users.models import User
from severable.api.models import Attempts
from tests.api.test_csp import assert_is_a_page
from tests.conftest import MakeProduct
from tests.gateway.browsing import PASSWORD, Customer, attempt_in, order_at
from tests.threads import together

pytestmark = pytest.mark.django_db

# Signed for another purpose. Signatures have the time, which must not be in a test's id.
OTHERS_BASKET = pytest.param(signing.dumps({"MUG": 5}), id="another-purpose")
OTHERS_ATTEMPT = pytest.param(signing.dumps(("key", {"MUG": 1})), id="another-purpose")


@pytest.fixture
def customer(alice: User, mug: Product) -> Customer:
    """Alice, signed in, with a mug in the basket."""
    return Customer().ready()


# Buying


def test_a_purchase_from_the_product_to_the_paid_order(customer: Customer) -> None:
    product = customer.text("/products/MUG")
    assert "9.00 EUR" in product and "10 in stock" in product
    order_id = order_at(customer.buy())
    page = customer.get(f"/orders/{order_id}")

    assert Order.objects.get().status == "paid"
    assert 'class="status paid"' in page.content.decode()
    assert "data-live" not in page.content.decode()
    assert "Your basket is empty" in customer.basket()
    assert order_id[-8:] in customer.text("/orders")
    assert_is_a_page(page)


@pytest.mark.parametrize(
    ("payment", "field"),
    [
        ({"method": "card", "token": "tok_declined"}, "id_token_error"),
        ({"method": "card", "token": ""}, "id_token_error"),
        ({"method": "credit"}, "id_method_error"),
    ],
)
def test_a_declined_payment_is_said_beside_its_field_and_the_basket_stays(
    customer: Customer, payment: dict[str, str], field: str
) -> None:
    answer = customer.buy(payment=payment)

    assert f'id="{field}"' in answer.content.decode()
    assert "1 × Mug" in answer.content.decode()
    assert "Mug" in customer.basket()
    order_at(customer.buy(attempt_in(answer)))  # with another card, the same page buys it


def test_too_little_stock_is_said_beside_each_line(
    customer: Customer, make_product: MakeProduct
) -> None:
    make_product("LAMP", available=0)
    customer.add("MUG", 99)
    customer.add("LAMP", 1)
    page = customer.buy().content.decode()

    assert "Only 10 left." in page and "Sold out." in page
    assert 'value="100"' in customer.basket()


def test_a_form_that_is_sent_again_orders_once(customer: Customer) -> None:
    attempt = customer.checkout()
    first, again = order_at(customer.buy(attempt)), order_at(customer.buy(attempt))

    assert first == again
    assert Order.objects.count() == 1


def test_what_was_added_after_the_checkout_is_neither_ordered_nor_lost(
    customer: Customer, make_product: MakeProduct
) -> None:
    make_product("LAMP")
    attempt = customer.checkout()
    customer.add("LAMP")
    order_at(customer.buy(attempt))

    assert [line.sku for line in Order.objects.get().lines.all()] == ["MUG"]
    assert "Lamp" in customer.basket() and "Mug" not in customer.basket()


@pytest.mark.django_db(transaction=True)
def test_a_double_click_orders_once_and_both_answers_lead_to_the_order(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "IN_FLIGHT_SECONDS", 0.1)
    monkeypatch.setattr(buying, "IN_FLIGHT", 100)
    attempt = customer.checkout()

    def click(number: int) -> Any:
        again = Customer()
        again.client.cookies = customer.client.cookies.copy()
        return again.buy(attempt)

    first, second = together(2, click)
    assert order_at(first) == order_at(second)
    assert Order.objects.count() == 1


def test_the_same_form_with_another_card_is_refused(customer: Customer) -> None:
    attempt = customer.checkout()
    customer.buy(attempt)
    answer = customer.buy(attempt, {"method": "card", "token": "tok_slow"})

    assert "was sent before" in answer.content.decode()
    assert Order.objects.count() == 1


def test_an_order_that_takes_longer_shows_its_progress(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buying, "WAIT_SECONDS", 0)
    order_id = order_at(customer.buy())
    page, fragment = customer.text(f"/orders/{order_id}"), f"/orders/{order_id}?fragment"

    assert f'data-live="{fragment}"' in page and "<noscript>" in page
    assert "data-more" in customer.text(fragment) and "<html" not in customer.text(fragment)
    assert "data-live" in customer.text("/orders")


def test_cancelling_an_order_and_cancelling_it_too_late(customer: Customer) -> None:
    order_id = order_at(customer.buy())
    Order.objects.update(status="shipped")
    refused = customer.client.post(f"/orders/{order_id}/cancel")
    assert "cannot become cancelled" in refused.content.decode()

    customer.add()
    second = order_at(customer.buy())
    customer.client.post(f"/orders/{second}/cancel")
    assert Order.objects.get(id=second).status == "cancelled"


def test_orders_come_in_pages(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.gateway.storefront.orders.PAGE_SIZE", 1)
    first = order_at(customer.buy())
    customer.add()
    order_at(customer.buy())
    page = customer.get("/orders")
    older = f"?cursor={page.context['older']}"

    assert first[-8:] not in page.content.decode()
    assert first[-8:] in customer.get(f"/orders{older}").content.decode()


# Whose it is


def test_another_s_order_does_not_exist(customer: Customer, bob: User) -> None:
    order_id = order_at(customer.buy())
    other = Customer("bob")
    other.sign_in()

    for answer in (
        other.get(f"/orders/{order_id}"),
        other.get(f"/orders/{order_id}?fragment"),
        other.client.post(f"/orders/{order_id}/cancel"),
    ):
        assert answer.status_code == 404
        assert "Mug" not in answer.content.decode()
    assert Order.objects.get().status == "paid"


@pytest.mark.parametrize(
    "path", ["/orders", "/checkout", f"/orders/{'0' * 8}-0000-7000-8000-{'0' * 12}"]
)
def test_whoever_has_not_signed_in_is_sent_there_and_back(customer: Customer, path: str) -> None:
    stranger = Client()
    answer = stranger.get(path)

    assert answer["Location"] == f"/sign-in?next={path.replace('/', '%2F')}"
    form = {"username": "alice", "password": PASSWORD, "next": path}
    assert stranger.post("/sign-in", form)["Location"] == path


@pytest.mark.parametrize(
    "path",
    [
        *("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"),
        *("/admin/", "/api/docs", "/nowhere", "\n/orders", "orders", ""),
    ],
)
def test_after_the_sign_in_only_pages_of_the_storefront_follow(alice: User, path: str) -> None:
    assert Customer().sign_in(next=path)["Location"] == "/"


@pytest.mark.parametrize("value", ["forged", '{"MUG": 5}', "e30:1:x", OTHERS_BASKET])
def test_a_basket_that_was_not_signed_here_is_empty(mug: Product, value: str) -> None:
    stranger = Client()
    stranger.cookies["shop_basket"] = value

    assert "Your basket is empty" in stranger.get("/basket").content.decode()


@pytest.mark.parametrize("attempt", ["", "forged", OTHERS_ATTEMPT])
def test_an_order_that_no_page_has_shown_is_not_placed(customer: Customer, attempt: str) -> None:
    answer = customer.client.post(
        "/checkout", {"attempt": attempt, "method": "card", "token": "tok_visa"}
    )

    assert "has expired" in answer.content.decode()
    assert not Order.objects.exists()
    order_at(customer.buy(attempt_in(answer)))


@pytest.mark.parametrize("quantity", ["0", "-1", "1001", "many", ""])
def test_a_quantity_that_is_none_is_said_beside_its_field(mug: Product, quantity: str) -> None:
    answer = Client().post("/basket/add", {"sku": "MUG", "quantity": quantity})

    assert 'id="quantity-problem"' in answer.content.decode()
    assert "shop_basket" not in answer.cookies


def test_a_basket_has_room_for_so_many_products_only(mug: Product) -> None:
    """The browser drops a cookie that is too large, and the basket with it."""
    stranger = Customer()
    for number in range(40):
        stranger.add(f"{'X' * 36}-{number:03}")
    assert "has room for" in stranger.add().content.decode()
    assert len(stranger.client.cookies["shop_basket"].OutputString()) < 4096


@pytest.mark.parametrize("path", ["/basket/add", "/basket", "/checkout", "/sign-in", "/register"])
def test_a_form_of_another_site_is_refused(path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(path, {}).status_code == 403


# The session


def test_the_cookies_are_for_this_site_only(alice: User, mug: Product, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    cookies = Customer().ready().client.cookies

    for name in ("shop_access", "shop_refresh", "shop_basket"):
        flags = cookies[name]
        assert (flags["httponly"], flags["samesite"], flags["secure"]) == (True, "Lax", True)


def expire(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "time", lambda: time() + 6 * 60)


def test_an_expired_session_is_continued(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = customer.client.cookies["shop_refresh"].value
    expire(customer, monkeypatch)

    assert customer.get("/orders").status_code == 200
    assert customer.client.cookies["shop_refresh"].value != old


@pytest.mark.django_db(transaction=True)
def test_two_tabs_that_continue_a_session_at_once_both_stay_signed_in(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh token that comes twice ends its session."""
    expire(customer, monkeypatch)

    def tab(number: int) -> Any:
        one = Client()
        one.cookies = customer.client.cookies.copy()
        return one.get("/orders")

    answers = together(4, tab)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.cookies["shop_refresh"].value for answer in answers}) == 1


def test_the_new_tokens_of_a_tab_are_not_readable_in_the_cache(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    cache = SimpleNamespace(add=lambda *given: True, set=lambda *given: kept.append(given))
    monkeypatch.setattr(session, "cache", cache)
    expire(customer, monkeypatch)
    old = customer.client.cookies["shop_refresh"].value
    customer.get("/orders")

    new = customer.client.cookies["shop_refresh"].value
    assert kept and not any(secret in str(kept) for secret in (old, new))


def test_without_the_cache_a_session_is_continued(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> Any:
        raise ConnectionError

    monkeypatch.setattr(session, "cache", SimpleNamespace(add=fail, get=fail, set=fail))
    expire(customer, monkeypatch)
    assert customer.get("/orders").status_code == 200


def test_an_ended_session_leads_to_the_sign_in_and_keeps_the_basket(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, body = customer.checkout(), {"refresh": customer.client.cookies["shop_refresh"].value}
    Client().post("/api/auth/logout", body, content_type="application/json")
    expire(customer, monkeypatch)
    answer = customer.buy(attempt)

    assert answer["Location"] == "/sign-in?next=%2Fcheckout"
    assert customer.client.cookies["shop_refresh"].value == ""
    assert "Mug" in customer.basket()
    assert customer.get("/sign-in").status_code == 200  # not sent back to the page that refused


def test_signing_out_ends_the_session_everywhere(customer: Customer) -> None:
    stolen = {"refresh": customer.client.cookies["shop_refresh"].value}
    customer.client.post("/sign-out")

    again = Client().post("/api/auth/token/refresh", stolen, content_type="application/json")
    assert again.status_code == 401
    assert "Sign in" in customer.text("/") and "Mug" in customer.basket()


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c"])
def test_cookies_that_are_no_tokens_are_no_session(token: str) -> None:
    stranger = Client()
    stranger.cookies["shop_access"] = stranger.cookies["shop_refresh"] = token

    assert stranger.get("/").status_code == 200
    assert stranger.get("/orders")["Location"].startswith("/sign-in")


def test_a_wrong_password_is_said(alice: User) -> None:
    answer = Customer().sign_in("wrong")
    assert "no active account" in answer.content.decode()
    assert "shop_refresh" not in answer.cookies


NEWCOMER = {
    "name": "Carol",
    "email": "carol@example.com",
    "address": "",
    "username": "carol",
    "password": "a long sentence",
}


def test_registering_signs_in_also_when_it_comes_twice(mug: Product) -> None:
    page = Client().get("/register")
    form = NEWCOMER | {"key": str(page.context["form"]["key"].value())}
    for _ in range(2):
        visitor = Client()
        assert visitor.post("/register?next=/basket", form)["Location"] == "/basket"
        assert visitor.get("/orders").status_code == 200
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"username": "alice"}, "username"),
        ({"username": "a b"}, "username"),
        ({"password": "12345678"}, "password"),
        ({"email": "carol"}, "email"),
        ({"name": "a\x01b"}, "name"),
    ],
)
def test_what_is_wrong_with_a_registration_is_said_beside_its_field(
    alice: User, wrong: dict[str, str], field: str
) -> None:
    form = NEWCOMER | {"key": "0" * 32} | wrong
    answer = Client().post("/register", form)

    assert f'id="id_{field}_error"' in answer.content.decode()


# What the API answers


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Call]]:
    """Answer requests for paths that end so with a problem, or not at all."""
    send, calls = client.send, list[Call]()

    def answer(method: str, path: str, status: int = 0, code: str = "", **more: Any) -> list[Call]:
        headers = {"Retry-After": "7"} if status in (429, 503) else {}
        problem = {"status": status, "code": code, "detail": "The API's words.", **more}

        def sent(call: Call, page: Any, timeout: float) -> Answer:
            if (call.method, call.path) != (method, path):
                return send(call, page, timeout)
            calls.append(call)
            if not status:
                raise Unreachable
            return Answer(status, headers, json.dumps(problem).encode())

        monkeypatch.setattr(client, "send", sent)
        return calls

    return answer


FIELD = {"errors": [{"field": "payment.token", "code": "invalid", "detail": "No such card."}]}


@pytest.mark.parametrize(
    ("status", "code", "more", "page", "text"),
    [
        (400, "invalid", FIELD, 200, 'id="id_token_error" role="alert"><p>No such card.'),
        (402, "payment_declined", {}, 200, 'id="id_token_error" role="alert"><p>The API'),
        (409, "insufficient_stock", {"sku": "MUG"}, 200, "The API&#x27;s words."),
        (422, "unknown_product", {"sku": "MUG"}, 200, "This product is no longer sold."),
        (422, "unknown_user", {"field": "user_id"}, 200, "The API&#x27;s words."),
        (422, "mixed_currencies", {}, 200, "The API&#x27;s words."),
        (422, "key_reused", {}, 200, "was sent before"),
        (403, "permission_denied", {}, 200, "The API&#x27;s words."),
        (429, "throttled", {}, 429, "try again in 7 seconds"),
        (503, "unavailable", {}, 503, "did not answer"),
        (504, "timeout", {}, 504, "did not answer"),
        (500, "internal_error", {}, 500, "did not answer"),
        (0, "", {}, 503, "did not answer"),
    ],
)
def test_each_error_of_an_order_is_a_message_and_the_basket_stays(
    customer: Customer,
    answering: Callable[..., list[Call]],
    status: int,
    code: str,
    more: dict[str, Any],
    page: int,
    text: str,
) -> None:
    attempt = customer.checkout()
    answering("POST", "/api/orders", status, code, **more)
    answer = customer.buy(attempt)

    assert (answer.status_code, text in answer.content.decode()) == (page, True)
    assert "Mug" in customer.basket()
    undecided = page != 200  # the order may have been placed: the same key asks for it again
    assert (signing_key(attempt) == signing_key(attempt_in(answer))) == undecided
    assert ("Retry-After" in answer) == undecided


def signing_key(attempt: str) -> str:
    return str(signing.loads(attempt, salt="storefront.checkout")[0])


@pytest.mark.parametrize("path", ["/api/users/me", "/api/inventory/products"])
def test_a_checkout_needs_neither_the_profile_nor_the_prices(
    customer: Customer, answering: Callable[..., list[Call]], path: str
) -> None:
    """An order is accepted while users or inventory are down."""
    answering("GET", path)
    order_at(customer.buy())


@pytest.mark.parametrize(("status", "page"), [(0, 503), (429, 429), (502, 502)])
def test_a_page_without_the_api_asks_to_try_again(
    customer: Customer, answering: Callable[..., list[Call]], status: int, page: int
) -> None:
    answering("GET", "/api/inventory/products", status, "any")
    for path in ("/", "/basket"):
        answer = customer.get(path)
        assert (answer.status_code, answer["Retry-After"]) == (page, "7" if status == 429 else "2")
        assert_is_a_page(answer)


def test_a_request_that_is_not_allowed_is_said(
    customer: Customer, answering: Callable[..., list[Call]]
) -> None:
    answering("GET", "/api/orders", 403, "permission_denied")
    answer = customer.get("/orders")
    assert answer.status_code == 403 and "The API&#x27;s words." in answer.content.decode()


# The catalog


def test_a_search_finds_and_sorts(make_product: MakeProduct) -> None:
    for sku, price in (("MUG-OAK", 900), ("MUG-ASH", 700), ("LAMP-OAK", 100)):
        make_product(sku, price=price)
    page = Client().get("/?search=mug&order=-unit_price").content.decode()

    assert page.index("Mug-Oak") < page.index("Mug-Ash") and "Lamp" not in page
    assert "no such product" in Client().get("/?search=nothing").content.decode()


def test_a_search_that_the_api_refuses_is_said(mug: Product) -> None:
    answer = Client().get("/", {"search": " ".join("abcdefghijklm")})
    assert "no more than 10 words" in answer.content.decode()


@pytest.mark.parametrize("path", ["/?page=99", "/products/NONE", "/products/..", "/products/%00"])
def test_a_page_that_is_not_there_is_404(path: str, mug: Product) -> None:
    answer = Client().get(path)
    assert answer.status_code == 404
    assert_is_a_page(answer)


def test_a_product_without_a_picture_has_one(make_product: MakeProduct) -> None:
    make_product("MUG-OAK")
    make_product("FJORD")
    page = Client().get("/").content.decode()

    assert "storefront/products/mug.svg#oak" in page
    assert "storefront/products/fallback.svg" in page
    assert Client().get("/static/storefront/products/fallback.svg").status_code == 200


# The price


def test_the_storefront_itself_uses_no_table(alice: User, django_assert_num_queries: Any) -> None:
    for path in ("/sign-in", "/register", "/basket", "/checkout"):
        with django_assert_num_queries(0):
            Client().get(path)


def test_the_limits_of_the_api_see_the_customer(alice: User, settings: Any) -> None:
    """Else one customer's attempts lock out all others."""
    settings.TRUSTED_PROXIES = 1
    Customer().client.post(
        "/sign-in",
        {"username": "alice", "password": "x"},
        headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.7"},
    )
    assert Attempts.objects.filter(key="address 203.0.113.7").exists()
    assert not Attempts.objects.filter(key__contains="6.6.6.6").exists()
