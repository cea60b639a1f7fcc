"""What staff cannot do by hand, and that what they may goes through the services."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client

from apps.inventory.models import Product
from apps.users import services
from apps.users.models import Preferences, User
from severable.admin.site import Record
from severable.events.models import Event
from tests import samples
from tests.admin import rows
from tests.admin.conftest import messages_of
from tests.admin.views import check_editable, listed, page
from tests.conftest import MakeUser

pytestmark = pytest.mark.django_db

RECORDS = [model for model, made in admin.site._registry.items() if isinstance(made, Record)]
each_record = pytest.mark.parametrize("model", RECORDS, ids=lambda model: model._meta.label)


def profile(user: User, **changes: Any) -> dict[str, Any]:
    """The form of a user's page, as the browser sends it."""
    flags = {f: "on" for f in ("is_active", "is_staff", "is_superuser") if getattr(user, f)}
    form = {"name": user.name, "email": user.email, "address": user.address}
    return form | flags | {"granted": user.granted} | changes


def test_all_but_a_few_models_are_records() -> None:
    """A table that somebody made editable."""
    editable = set(admin.site._registry) - set(RECORDS)
    check_editable(editable)
    assert editable == {Group} | samples.collected("EDITABLE").keys()


@each_record
def test_a_record_can_be_neither_added_nor_changed_nor_deleted(model: Any, desk: Client) -> None:
    """An event, a payment, a ledger entry … that was edited by hand."""
    row = rows.make(model, 1001)
    before = model._default_manager.values().get(pk=row.pk)
    assert desk.get(listed(model) + "add/").status_code == 403
    assert desk.post(listed(model) + "add/", {}).status_code == 403
    assert desk.post(page(row), {"status": "paid", "state": "done"}).status_code == 403
    assert desk.post(page(row).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    desk.post(listed(model), {"action": "delete_selected", "_selected_action": [row.pk]})
    assert model._default_manager.values().get(pk=row.pk) == before


def test_a_user_is_not_deleted(alice: User, desk: Client) -> None:
    """A user whose orders, payments and mails are left with an id of nobody."""
    url = page(alice).replace("/change/", "/delete/")
    assert desk.post(url, {"post": "yes"}).status_code == 403


def test_a_profile_is_saved_by_the_service(alice: User, boss: User, desk: Client) -> None:
    """An edit that other contexts never hear of, or that names no actor."""
    answer = desk.post(page(alice), profile(alice, name="Alice B."), follow=True)
    assert answer.redirect_chain
    event = Event.objects.get(type="user.UserUpdated")
    assert (event.data["name"], event.actor) == ("Alice B.", f"user-{boss.id}")


def test_saving_a_user_leaves_their_credit_and_password(make_user: MakeUser, desk: Client) -> None:
    """A form that writes the whole row, over what a payment took meanwhile."""
    alice = make_user("alice", credit=500)
    desk.post(page(alice), profile(alice, granted=["orders:ship"], credit="9", password="x"))
    after = User.objects.get(id=alice.id)
    assert (after.granted, after.credit) == (["orders:ship"], 500)
    (told,) = Event.objects.filter(type="user.AccessChanged")
    assert told.data["granted"] == ["orders:ship"]
    desk.post(page(alice), profile(after))
    assert Event.objects.filter(type="user.AccessChanged").count() == 1
    assert after.password == alice.password


def test_a_new_password_does_not_overwrite_the_credit(
    make_user: MakeUser, desk: Client, monkeypatch: Any
) -> None:
    """Django's form saves the whole user as it was when the page was loaded."""
    alice = make_user("alice", credit=500)
    spend_first = User.set_password

    def slow(user: User, password: str) -> None:
        User.objects.filter(id=user.id).update(credit=100)
        spend_first(user, password)

    monkeypatch.setattr(User, "set_password", slow)
    secret = {"password1": "another horse battery", "password2": "another horse battery"}
    desk.post(page(alice).replace("change/", "password/"), secret | {"usable_password": "true"})
    after = User.objects.get(id=alice.id)
    assert after.credit == 100
    assert after.check_password("another horse battery")


def test_a_new_user_is_registered(desk: Client) -> None:
    """An account without an event, without preferences, or without a password."""
    form = {"username": "carol", "name": "Carol", "email": "carol@example.com", "address": ""}
    secret = {"password1": "another horse battery", "password2": "another horse battery"}
    assert desk.post("/admin/users/user/add/", form).status_code == 200  # no password
    assert not User.objects.filter(username="carol").exists()
    answer = desk.post("/admin/users/user/add/", form | secret)
    carol = User.objects.get(username="carol")
    assert answer["Location"] == page(carol)
    assert carol.check_password("another horse battery")
    assert Preferences.objects.filter(user=carol).exists()
    assert Event.objects.filter(type="user.UserRegistered", stream=carol.stream).count() == 1
    assert not carol.email_confirmed


def test_staff_confirm_an_address_that_they_know(alice: User, desk: Client) -> None:
    """A customer who cannot read the mail that asks to confirm, and gets no other."""
    services.update_profile(user_id=alice.id, email="new@example.com")
    ticked = {"action": "confirm", "_selected_action": [alice.pk]}
    desk.post(listed(User), ticked)

    assert User.objects.get(id=alice.id).email_confirmed
    assert Event.objects.filter(type="user.EmailConfirmed", stream=alice.stream).count() == 1


def test_staff_who_are_no_superusers_make_nobody_one(make_user: MakeUser, client: Client) -> None:
    """Somebody with the right to change users who gives themselves all rights."""
    clerk = make_user("clerk")
    User.objects.filter(id=clerk.id).update(is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="users"))
    clerk.refresh_from_db()
    client.force_login(clerk)
    form = profile(clerk, name="Clerk C.", is_superuser="on", granted=["users:credit"])
    client.post(page(clerk), form)
    after = User.objects.get(id=clerk.id)
    assert (after.name, after.is_superuser, after.granted) == ("Clerk C.", False, [])


def test_a_refusal_while_saving_is_a_message(alice: User, desk: Client, monkeypatch: Any) -> None:
    """A 500 where somebody else took the e-mail address between check and save."""

    def taken(**profile: Any) -> None:
        raise services.Taken("email")

    monkeypatch.setattr(services, "update_profile", taken)
    answer = desk.post(page(alice), profile(alice, name="New"), follow=True)
    assert messages_of(answer) == ["This email is taken."]


def test_preferences_are_saved_by_the_service(alice: User, desk: Client) -> None:
    """Preferences that changed without an event."""
    desk.post(page(Preferences.objects.get(user=alice)), {"account_mails": "on"})
    assert Preferences.objects.get(user=alice).order_mails is False
    assert Event.objects.filter(type="user.PreferencesChanged").count() == 1


def test_a_product_is_repriced_but_its_stock_is_left(mug: Product, desk: Client) -> None:
    """A form that overwrites the stock, or takes euros for cents."""
    form = {"name": "Mug", "description": "", "price": "12.34", "available": "99", "held": "99"}
    desk.post(page(mug), form)
    mug.refresh_from_db()
    assert (mug.unit_price, mug.available, mug.held) == (1234, 10, 0)


def test_a_new_product_comes_with_its_first_stock(mug: Product, desk: Client) -> None:
    """A product whose stock no event tells of; a known SKU that is overwritten."""
    form = {"name": "Jug", "description": "", "price": "26", "currency": "EUR", "available": "5"}
    desk.post("/admin/inventory/product/add/", form | {"sku": "JUG"})
    desk.post("/admin/inventory/product/add/", form | {"sku": "MUG"})
    assert Product.objects.get(sku="JUG").available == 5
    assert Event.objects.filter(type="inventory.ProductRestocked", stream="product-JUG").exists()
    assert Product.objects.get(sku="MUG").name == "Mug"
