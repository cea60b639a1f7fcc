"""What is held for orders: reserved, released, sold, expired; and never oversold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from django.db.models import Sum
from django.utils import timezone

from apps.inventory import services
from apps.inventory.models import Product, Reservation
from protos import inventory_pb2 as pb
from protos.inventory_pb2_grpc import InventoryServiceStub
from severable.errors import DomainError, from_error
from severable.events.models import Event
from severable.rpc.client.stubs import stub
from tests.conftest import MakeProduct
from tests.threads import together

pytestmark = pytest.mark.django_db

ORDER = str(uuid4())


def reserve(*lines: tuple[str, int], order_id: str = ORDER) -> pb.ReserveResponse:
    request = pb.ReserveRequest(
        order_id=order_id, lines=[pb.Line(sku=sku, quantity=quantity) for sku, quantity in lines]
    )
    answer: pb.ReserveResponse = stub(InventoryServiceStub).Reserve(request)
    return answer


def release(order_id: str = ORDER) -> None:
    stub(InventoryServiceStub).Release(pb.ReleaseRequest(order_id=order_id))


def sell() -> None:
    services.sell(order_id=ORDER)


def expire() -> None:
    Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    services.expire_reservations()


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    found = from_error(caught.value)
    return found.code if found else f"{caught.value}"


def stock(sku: str = "MUG") -> tuple[int, int]:
    product = Product.objects.get(sku=sku)
    return product.available, product.held


def told() -> list[str]:
    events = Event.objects.filter(stream=f"reservation-{ORDER}").order_by("version")
    return [event.type.partition(".")[2] for event in events]


def test_the_same_order_again_gets_the_same_answer_and_holds_no_more(mug: Product) -> None:
    first = reserve(("MUG", 3))
    Product.objects.update(unit_price=1)  # the price that was promised stays

    assert reserve(("MUG", 3)) == first
    assert (first.total, first.currency) == (2700, "EUR")
    assert (stock(), told()) == ((7, 3), ["StockReserved"])


def test_one_line_too_many_holds_none(mug: Product, make_product: MakeProduct) -> None:
    make_product("JUG", available=1)

    assert refusal(lambda: reserve(("MUG", 1), ("JUG", 2))) == "insufficient_stock"
    assert (stock("MUG"), stock("JUG"), told()) == ((10, 0), (1, 0), [])


def test_a_refused_order_may_ask_again_when_there_is_more(mug: Product) -> None:
    assert refusal(lambda: reserve(("MUG", 11))) == "insufficient_stock"
    services.restock(key=uuid4(), sku="MUG", quantity=1)

    assert reserve(("MUG", 11)).total == 9900


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([("NONE", 1)], "unknown_product"),
        ([("MUG", 1), ("NONE", 1)], "unknown_product"),
        ([], "invalid"),
        ([("MUG", 0)], "invalid"),
        ([("MUG", -1)], "invalid"),
        ([("MUG", 1), ("MUG", 1)], "invalid"),
        ([("MUG", 2**31 - 1)], "insufficient_stock"),
        ([("MUG", 1), ("RUG", 1)], "mixed_currencies"),
    ],
)
def test_what_cannot_be_reserved_is_refused(
    mug: Product, make_product: MakeProduct, lines: list[tuple[str, int]], code: str
) -> None:
    make_product("RUG")
    Product.objects.filter(sku="RUG").update(currency="USD")

    assert refusal(lambda: reserve(*lines)) == code
    assert (stock(), Reservation.objects.count()) == ((10, 0), 0)


@pytest.mark.parametrize("call", [lambda: reserve(("MUG", 1), order_id="x"), lambda: release("x")])
def test_an_order_id_that_is_none_is_invalid(mug: Product, call: Callable[[], Any]) -> None:
    assert refusal(call) == "invalid"


def test_a_release_that_comes_before_its_reserve_wins(mug: Product) -> None:
    release()

    assert refusal(lambda: reserve(("MUG", 1))) == "reservation_ended"
    assert (stock(), told()) == ((10, 0), [])


@pytest.mark.parametrize(
    ("steps", "left", "events"),
    [
        ([release], (10, 0), ["StockReleased"]),
        ([release, release], (10, 0), ["StockReleased"]),
        ([sell], (7, 0), ["StockSold"]),
        ([sell, sell], (7, 0), ["StockSold"]),
        ([sell, release], (10, 0), ["StockSold", "StockReleased"]),
        ([sell, release, release, sell], (10, 0), ["StockSold", "StockReleased"]),
        ([release, sell], (10, 0), ["StockReleased"]),
        ([sell, expire], (7, 0), ["StockSold"]),
        ([expire], (10, 0), ["ReservationExpired"]),
        ([expire, expire], (10, 0), ["ReservationExpired"]),
        ([expire, release], (10, 0), ["ReservationExpired"]),
        ([expire, release, sell], (10, 0), ["ReservationExpired"]),  # a late OrderPaid
        ([expire, sell], (7, 0), ["ReservationExpired", "StockSold"]),
        (
            [expire, sell, release],
            (10, 0),
            ["ReservationExpired", "StockSold", "StockReleased"],
        ),
    ],
    ids=lambda value: "-".join(step.__name__ for step in value) if callable(value[0]) else None,
)
def test_whatever_comes_after_a_reservation_leaves_the_right_stock(
    mug: Product, steps: list[Callable[[], None]], left: tuple[int, int], events: list[str]
) -> None:
    reserve(("MUG", 3))
    for step in steps:
        step()

    assert (stock(), told()) == (left, ["StockReserved", *events])


def test_a_reservation_that_has_expired_is_not_taken_up_again(mug: Product) -> None:
    reserve(("MUG", 3))
    expire()

    assert refusal(lambda: reserve(("MUG", 3))) == "reservation_ended"


def test_what_expired_and_went_to_others_cannot_be_sold(mug: Product) -> None:
    reserve(("MUG", 3))
    expire()
    reserve(("MUG", 8), order_id=str(uuid4()))

    with pytest.raises(DomainError, match="not enough stock"):
        sell()
    assert stock() == (2, 8)


def test_what_is_held_for_less_than_its_time_does_not_expire(mug: Product) -> None:
    reserve(("MUG", 3))
    services.expire_reservations()

    assert stock() == (7, 3)


@pytest.mark.django_db(transaction=True)
def test_the_last_ten_are_sold_to_ten(mug: Product) -> None:
    def buy(number: int) -> bool:
        order_id = str(uuid4())
        try:
            reserve(("MUG", 1), order_id=order_id)
        except grpc.RpcError:
            return False
        if number % 2:
            services.sell(order_id=order_id)
        return True

    assert sum(together(24, buy)) == 10
    assert stock()[0] == 0
    assert Reservation.objects.aggregate(all=Sum("lines__quantity"))["all"] == 10


@pytest.mark.django_db(transaction=True)
def test_a_reserve_and_its_release_at_the_same_time_leave_nothing_held(mug: Product) -> None:
    def either(number: int) -> None:
        if number % 2:
            release()
            return
        try:
            reserve(("MUG", 3))
        except grpc.RpcError as error:
            assert "released" in str(error)

    together(8, either)

    assert stock() == (10, 0)


def test_products_are_told_without_those_that_are_unknown(mug: Product) -> None:
    found = stub(InventoryServiceStub).GetProducts(pb.GetProductsRequest(skus=["MUG", "NONE"]))

    assert [(p.sku, p.unit_price, p.available) for p in found.products] == [("MUG", 900, 10)]
