"""Daily sales: a read model that is kept by events, and built again from them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django.utils.timezone import localdate

from apps.inventory.models import DailySales, Product, Sale
from apps.orders.models import Order
from apps.payments import services as payments
from apps.users.models import User
from severable.events import delivery, handlers
from severable.events.envelope import to_message
from severable.events.models import Delivery, Event
from severable.events.store import envelope
from tests.conftest import ClientFor, MakeProduct, MakeUser
from tests.machine import settle

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "inventory.count_sales"
Place = Any


@pytest.fixture
def place(mug: Product, make_product: MakeProduct, alice: User, client_for: ClientFor) -> Place:
    """place(mugs=2, jugs=1) places an order and returns it."""
    make_product("JUG", price=2500)

    def order(token: str = "tok_visa", *, mugs: int = 1, jugs: int = 0) -> Order:
        wanted = {"MUG": mugs, "JUG": jugs}
        items = [{"sku": sku, "quantity": n} for sku, n in wanted.items() if n]
        body = {"items": items, "payment": {"method": "card", "token": token}}
        client_for(alice).post("/api/orders", body)
        return Order.objects.latest("id")

    return order


def figures() -> list[tuple[Any, ...]]:
    listed = DailySales.objects.order_by("day", "sku")
    return list(listed.values_list("day", "sku", "currency", "units", "revenue"))


def counted_events() -> list[Event]:
    return list(Event.objects.filter(type__in=handlers.types_of(NAME)).order_by("position"))


def test_paid_orders_are_counted_by_product_and_day(place: Place) -> None:
    """An order that is missing, or one that was rejected and is counted."""
    place(mugs=2)
    place(mugs=1, jugs=2)
    place("tok_declined", mugs=5)
    settle()
    today = localdate()
    assert figures() == [(today, "JUG", "EUR", 2, 5000), (today, "MUG", "EUR", 3, 2700)]


def test_cancelled_and_refunded_orders_are_subtracted(
    place: Place, alice: User, client_for: ClientFor
) -> None:
    """Revenue that was given back."""
    place(mugs=2)
    cancelled, refunded = place(mugs=1, jugs=1), place(mugs=3)
    settle()
    client_for(alice).post(f"/api/orders/{cancelled.id}/cancel")
    payments.refund_payment(payment_id=refunded.payment_id)
    settle()
    assert [row[1:] for row in figures()] == [("JUG", "EUR", 0, 0), ("MUG", "EUR", 2, 1800)]
    assert Sale.objects.count() == 1


def test_a_cancellation_that_overtakes_its_order_waits(
    place: Place, alice: User, client_for: ClientFor
) -> None:
    """An order that stays counted for ever, since it was cancelled before it was counted."""
    order = place(mugs=2)
    client_for(alice).post(f"/api/orders/{order.id}/cancel")
    paid, cancelled = counted_events()
    for event in (cancelled, paid):
        (handler,) = (h for h in handlers.registered(type=event.type) if h.name == NAME)
        delivery.handle([envelope(event)], handler)
    assert [row[3] for row in figures()] == [2]
    Delivery.objects.filter(state="waiting").update(due_at=Now())
    settle()
    assert [row[3] for row in figures()] == [0]


@pytest.mark.parametrize("empty", [True, False])
def test_a_replay_builds_the_same_figures(
    place: Place, alice: User, client_for: ClientFor, empty: bool
) -> None:
    """Figures that no one can check or repair; orders that a replay counts twice."""
    cancelled = place(mugs=1, jugs=1)
    place(mugs=2)
    client_for(alice).post(f"/api/orders/{cancelled.id}/cancel")
    settle()
    before = figures()
    if empty:
        DailySales.objects.all().delete()
    call_command("replay", "--handler", NAME, "--from", "0")
    settle()
    assert figures() == before
    assert {row[3] for row in before} == {0, 2}


def test_what_comes_twice_is_counted_once(place: Place) -> None:
    """A message that the broker delivers again."""
    place(mugs=2)
    settle()
    (event,) = counted_events()
    (handler,) = (h for h in handlers.registered(type=event.type) if h.name == NAME)
    delivery.handle([envelope(event)], handler)
    handler.function(to_message(envelope(event)))
    assert [row[3] for row in figures()] == [2]


def test_staff_see_the_totals_of_what_they_filter(
    make_user: MakeUser, make_product: MakeProduct, client: Client
) -> None:
    """Totals of the page, or of all rows, for those of the filter."""
    boss = make_user("boss")
    User.objects.filter(id=boss.id).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(id=boss.id))
    make_product("JUG")
    today, before = localdate(), localdate() - timedelta(days=40)
    sold(today, "MUG", "EUR", 2, 1800)
    sold(today, "JUG", "EUR", 1, 2500)
    sold(before, "MUG", "EUR", 10, 9000)
    sold(before, "MUG", "CHF", 5, 7000)

    def totals(**filters: Any) -> list[list[Any]]:
        found = client.get("/admin/inventory/dailysales/", filters).context["totals"]["rows"]
        return [list(row) for row in found]

    assert totals() == [[5, "70.00 CHF"], [13, "133.00 EUR"]]
    assert totals(sku="JUG") == [[1, "25.00 EUR"]]
    assert totals(day__gte=today.isoformat(), day__lt=today + timedelta(days=1)) == [
        [3, "43.00 EUR"]
    ]


def sold(day: date, sku: str, currency: str, units: int, revenue: int) -> None:
    DailySales.objects.create(day=day, sku=sku, currency=currency, units=units, revenue=revenue)
