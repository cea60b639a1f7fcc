"""The list of products, checks of stock and restocking, over the public API."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.inventory.models import Product
from apps.users.models import User
from severable.events.models import Event
from tests.conftest import ClientFor, MakeProduct

pytestmark = pytest.mark.django_db

LIST = "/api/inventory/products"


@pytest.fixture
def shelf(make_product: MakeProduct) -> None:
    for sku, price, available in [("BOWL", 1400, 0), ("MUG", 900, 10), ("JUG", 900, 3)]:
        make_product(sku, price=price, available=available)


def skus(client: APIClient, **query: Any) -> list[str]:
    return [product["sku"] for product in client.get(LIST, query).json()["results"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["BOWL", "JUG", "MUG"]),
        ({"search": "mu"}, ["MUG"]),
        ({"search": "u g"}, ["JUG", "MUG"]),
        ({"search": "%"}, []),
        ({"min_price": 901}, ["BOWL"]),
        ({"max_price": 900}, ["JUG", "MUG"]),
        ({"in_stock": "true"}, ["JUG", "MUG"]),
        ({"in_stock": "false"}, ["BOWL"]),
        ({"currency": "USD"}, []),
        ({"ordering": "-available"}, ["MUG", "JUG", "BOWL"]),
        ({"ordering": "-unit_price"}, ["BOWL", "JUG", "MUG"]),
        ({"ordering": "held"}, ["BOWL", "JUG", "MUG"]),
        ({"page_size": 2}, ["BOWL", "JUG"]),
        ({"page_size": 2, "page": 2}, ["MUG"]),
    ],
)
def test_products_are_searched_filtered_ordered_and_leafed_through(
    anonymous: APIClient, shelf: None, query: dict[str, Any], expected: list[str]
) -> None:
    assert skus(anonymous, **query) == expected


def test_products_of_one_price_do_not_change_places_between_pages(
    anonymous: APIClient, shelf: None
) -> None:
    """Without a tie-break a product is shown on two pages, and another on none."""
    assert skus(anonymous, ordering="unit_price") == ["JUG", "MUG", "BOWL"]


def test_a_page_has_at_most_100_products(anonymous: APIClient) -> None:
    Product.objects.bulk_create(
        Product(sku=f"P{number:03}", name="P", unit_price=1) for number in range(101)
    )

    assert len(skus(anonymous, page_size=1_000_000)) == 100


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"page": "0"}, 404),
        ({"page": "-1"}, 404),
        ({"page": "9" * 5000}, 404),
        ({"page": "abc"}, 404),
        ({"page_size": "abc"}, 200),
        ({"page_size": "-5"}, 200),
        ({"min_price": "abc"}, 400),
        ({"min_price": "1e999999999"}, 400),
        ({"max_price": "-1e999999999"}, 400),
        ({"max_price": "NaN"}, 400),
        ({"min_price": "9" * 5000}, 400),
        ({"min_price": "9" * 30}, 200),
        ({"in_stock": "maybe"}, 200),
        ({"currency": "\0"}, 400),
        ({"search": "\0"}, 400),
        ({"search": "word " * 2000}, 400),
        ({"ordering": "password,-nothing,\0"}, 200),
        ({"unknown": "x"}, 200),
    ],
)
@pytest.mark.timeout(10)
def test_absurd_parameters_are_answered(
    anonymous: APIClient, shelf: None, query: dict[str, str], status: int
) -> None:
    answer = anonymous.get(LIST, query)

    assert answer.status_code == status
    if status == 400:
        assert [error["field"] for error in answer.json()["errors"]] == list(query)


def test_a_list_takes_as_many_queries_whatever_its_length(
    anonymous: APIClient, shelf: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        anonymous.get(LIST)


@pytest.mark.parametrize("sku", ["NONE", "%00", "M%00UG", "x" * 500, "%F0%9F%98%80", "%FF"])
def test_an_unknown_product_is_not_found(anonymous: APIClient, shelf: None, sku: str) -> None:
    answer = anonymous.get(f"{LIST}/{sku}")

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_a_product_is_found(anonymous: APIClient, shelf: None) -> None:
    assert anonymous.get(f"{LIST}/MUG").json() == {
        "sku": "MUG",
        "name": "Mug",
        "description": "",
        "unit_price": 900,
        "currency": "EUR",
        "available": 10,
    }


def test_a_check_says_what_is_missing_and_holds_nothing(anonymous: APIClient, shelf: None) -> None:
    items = [
        {"sku": "MUG", "quantity": 10},
        {"sku": "JUG", "quantity": 4},
        {"sku": "X", "quantity": 1},
    ]
    answer = anonymous.post("/api/inventory/check", {"items": items}).json()

    assert [line["enough"] for line in answer["items"]] == [True, False, False]
    assert (answer["enough"], answer["items"][2]["available"]) == (False, 0)
    assert not Product.objects.filter(held__gt=0).exists()


def restock(client: APIClient, sku: str = "MUG", quantity: Any = 5, key: str = "delivery") -> Any:
    return client.post(
        f"{LIST}/{sku}/restock", {"quantity": quantity}, headers={"Idempotency-Key": key}
    )


def test_a_delivery_is_put_on_the_shelf_once(
    staff: User, mug: Product, client_for: ClientFor
) -> None:
    answers = [restock(client_for(staff)) for _ in range(2)]

    assert [answer.json()["available"] for answer in answers] == [15, 15]
    assert Product.objects.get().available == 15
    assert Event.objects.filter(type="inventory.ProductRestocked").last().data["quantity"] == 5


@pytest.mark.parametrize("quantity", [0, -1, 10**30, 1.5, "many", None, True, []])
def test_what_is_no_quantity_is_not_put_on_the_shelf(
    staff: User, mug: Product, client_for: ClientFor, quantity: Any
) -> None:
    answer = restock(client_for(staff), quantity=quantity)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "quantity")


def test_only_staff_of_the_store_restock_and_only_what_there_is(
    alice: User, staff: User, mug: Product, client_for: ClientFor, anonymous: APIClient
) -> None:
    assert restock(anonymous).status_code == 401
    assert restock(client_for(alice)).status_code == 403
    assert restock(client_for(staff), sku="NONE").json()["code"] == "product_not_found"


def test_a_shelf_holds_no_more_than_can_be_counted(
    staff: User, mug: Product, client_for: ClientFor
) -> None:
    """A stock beyond the column's range is an error of the database on PostgreSQL."""
    Product.objects.update(available=2**31 - 5)
    answer = restock(client_for(staff))

    assert (answer.status_code, answer.json()["code"]) == (409, "shelf_full")
