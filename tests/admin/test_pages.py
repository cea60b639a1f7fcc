"""Every page of the admin: it answers, and what it costs does not grow with the rows on it."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.notifications.models import Notification
from apps.orders.models import Order, OrderLine
from severable.admin import columns
from severable.saga.models import Saga
from tests.admin import rows
from tests.admin.views import MODELS, each_model, listed, page

pytestmark = pytest.mark.django_db


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_every_model_of_ours_can_be_seen() -> None:
    """A model that nobody registered, or that only appears on no other's page."""
    inlines = {i.model for a in admin.site._registry.values() for i in a.inlines}
    ours = {m for m in apps.get_models() if m.__module__.startswith(("apps.", "severable."))}
    assert ours <= set(admin.site._registry) | inlines


def test_lists_and_pages_answer(world: None, desk: Client) -> None:
    """A field, link or label that fails on real rows. One world for all models: it takes long."""
    for model in MODELS:
        assert model._default_manager.exists()
        assert desk.get(listed(model)).status_code == 200, model
        for row in model._default_manager.all():
            assert desk.get(page(row)).status_code == 200, row


@each_model
def test_search_and_filters_answer(model: Any, desk: Client) -> None:
    """A search term that is no id, no number, or too large a number; a filter's field."""
    some = rows.make(model, 1001).pk
    for term in ("x", "7", "9" * 30, str(some), "🥛", "a b", "%00"):
        assert desk.get(listed(model), {"q": term}).status_code == 200, term
    changes = desk.get(listed(model)).context["cl"]
    for choice in [c for f in changes.filter_specs for c in f.choices(changes)]:
        assert desk.get(listed(model) + choice["query_string"]).status_code == 200


@each_model
def test_a_list_is_sorted_by_each_of_its_columns(model: Any, desk: Client) -> None:
    """A column whose order names a property, not a field: a 500 by a click on its title."""
    rows.make(model, 1001)
    for number in range(1, len(admin.site._registry[model].list_display) + 1):
        assert desk.get(listed(model), {"o": str(number)}).status_code == 200, number


@each_model
def test_a_list_costs_as_much_with_30_rows_as_with_3(model: Any, desk: Client) -> None:
    """N+1 queries in a list."""
    for n in range(1001, 1004):
        rows.make(model, n)
    desk.get(listed(model))
    few = queries(desk, listed(model))
    for n in range(1004, 1031):
        rows.make(model, n)
    assert queries(desk, listed(model)) == few


@pytest.mark.parametrize("model", rows.with_parts(), ids=lambda model: model._meta.label)
def test_a_page_costs_as_much_with_30_parts_as_with_3(model: Any, desk: Client) -> None:
    """N+1 queries in the lines, entries, steps or events of one row."""
    grow, row = rows.parts(model), rows.make(model, 1)
    for n in range(1, 4):
        grow(row, n)
    desk.get(page(row))
    few = queries(desk, page(row))
    for n in range(4, 31):
        grow(row, n)
    assert queries(desk, page(row)) == few


def test_growing_tables_are_never_counted(desk: Client) -> None:
    """A list that counts its table, which takes seconds once there are millions of rows."""
    rows.make(Order, 1)
    with CaptureQueriesContext(connection) as captured:
        desk.get(listed(Order))
    assert not [q for q in captured if "COUNT(" in q["sql"] and "orders_order" in q["sql"]]


def test_search_finds_by_the_whole_id_only(desk: Client) -> None:
    """A search that reads the whole table, or finds nothing by an id."""
    found, other = rows.make(Order, 1), rows.make(Order, 2)
    shown = desk.get(listed(Order), {"q": str(found.id)}).context["cl"].queryset
    assert (found in shown, other in shown) == (True, False)
    assert not desk.get(listed(Order), {"q": str(found.id)[:8]}).context["cl"].queryset


def test_an_order_tells_its_story_with_the_steps_to_come(place: Any, desk: Client) -> None:
    """The order's page lost its events, or the steps that have not run yet."""
    order = place(Prefer="respond-async")
    text = desk.get(page(order)).content.decode()
    assert "OrderCreated" in text
    assert "place_order: payment" in text
    assert text.count("to do") == 3


def test_a_saga_shows_what_was_refused_and_hides_tokens(place: Any, desk: Client) -> None:
    """The token of a card in the admin; a saga whose refusal is not told."""
    place("tok_declined")
    assert "The card was declined." in desk.get(page(Saga.objects.get())).content.decode()
    place("tok_secret", Prefer="respond-async")
    waiting = Saga.objects.latest("id")
    assert waiting.data["token"] == "tok_secret"
    assert "tok_secret" not in desk.get(page(waiting)).content.decode()


def test_an_order_names_its_customer(place: Any, desk: Client) -> None:
    assert ">Alice</a>" in desk.get(page(place())).content.decode()


def test_the_index_names_what_was_given_up(desk: Client) -> None:
    """Parked work that nobody notices."""
    assert "parked" not in desk.get("/admin/").content.decode()
    Notification.objects.create(user_id=1, state="parked")
    assert "1 notification parked" in desk.get("/admin/").content.decode()


def test_the_sidebar_has_the_contexts_in_their_order(desk: Client) -> None:
    """A sidebar that forgets a context, or names one that does not run here."""
    titles = [group["title"] for group in desk.get("/admin/").context["sidebar_navigation"]]
    assert titles[:5] == ["Users", "Inventory", "Payments", "Orders", "Notifications"]


def test_links_lead_to_the_same_place_where_the_context_runs_elsewhere(monkeypatch: Any) -> None:
    """The payment, the mails and the customer of an order were dead text in a split."""
    row = columns.link("orders.order", "a_b")
    listed = columns.rows("orders.order", "orders", user_id=1)
    split = settings.TOPOLOGY.deployment("split", "payments")
    monkeypatch.setattr(settings, "DEPLOYMENT", split)
    assert columns.link("orders.order", "a_b") == row
    assert columns.rows("orders.order", "orders", user_id=1) == listed
    assert 'href="/admin/orders/order/a_5Fb/change/"' in row


def test_the_sidebar_leads_to_what_runs_elsewhere(desk: Client, monkeypatch: Any) -> None:
    """In a split each admin showed its own context alone."""
    monkeypatch.setattr(settings, "PLACEMENT", "split")
    monkeypatch.setattr(settings, "DEPLOYMENT", settings.TOPOLOGY.deployment("split", "payments"))
    shown = desk.get("/admin/").context["sidebar_navigation"]
    links = {item["link"] for group in shown for item in group["items"]}
    assert {"/admin/at/users/", "/admin/at/gateway/"} <= links
    assert "/admin/at/payments/" not in links


def test_what_customers_typed_is_escaped(desk: Client) -> None:
    """HTML from a product's name or an order's detail that a page takes for its own."""
    order = rows.make(Order, 1)
    Order.objects.filter(id=order.id).update(reason="<script>x", detail="<script>y")
    OrderLine.objects.create(order=order, sku="<script>z", quantity=1)
    assert "<script>x" not in desk.get(listed(Order)).content.decode()
    text = desk.get(page(order)).content.decode()
    assert not [letter for letter in "xyz" if f"<script>{letter}" in text]
