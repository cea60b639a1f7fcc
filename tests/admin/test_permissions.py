"""Every view of the admin, for staff with Django's permissions one by one."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client

from apps.users.models import User
from severable.api.models import IdempotencyKey
from severable.saga.models import Saga
from tests import samples
from tests.admin import rows
from tests.admin.views import (
    CATCH_ALL,
    MODELS,
    OF_A_MODEL,
    OF_NONE,
    ROW,
    buttons,
    each_model,
    listed,
    page,
    path_of,
    served,
)
from tests.conftest import MakeUser

pytestmark = pytest.mark.django_db

# What a permission opens. A record is never added, changed or deleted by hand; users and groups
# are in EDITABLE's tests.
VIEWS = {"list", "page", "history"}
OPENS = {
    "view": VIEWS,
    "change": VIEWS | {"button"},
    "add": set[str](),
    "delete": set[str](),
}


def test_every_view_of_the_admin_is_known() -> None:
    """A view of which no test says who may open it."""
    of_models = {f"{path_of(model)}/{view}" for model in MODELS for view in OF_A_MODEL}
    of_buttons = {f"{path_of(m)}/{ROW}{name}/" for m in MODELS for name in buttons(m)}
    own = set(samples.listed("ADMIN_VIEWS"))
    assert served() == of_models | of_buttons | own | CATCH_ALL | set(OF_NONE), (
        "a view that is neither Django's nor a button of a row: add its path to ADMIN_VIEWS in"
        " tests/<context>/samples.py, and test who may open it"
    )


@pytest.fixture
def clerk(make_user: MakeUser) -> User:
    clerk = make_user("clerk")
    User.objects.filter(id=clerk.id).update(is_staff=True)
    clerk.refresh_from_db()
    return clerk


def give(user: User, *permissions: Permission) -> Client:
    """A browser in which a user has signed in who has these of Django's permissions."""
    user.user_permissions.set(permissions)
    client = Client()
    client.force_login(User.objects.get(id=user.id))
    return client


def permission(model: Any, verb: str) -> Permission:
    codename = f"{verb}_{model._meta.model_name}"
    return Permission.objects.get(content_type__app_label=model._meta.app_label, codename=codename)


def opened(client: Client, model: Any) -> set[str]:
    """What of a model somebody gets to see or to do."""
    row = rows.make(model, 1001)
    at = page(row)
    answers = {
        "list": client.get(listed(model)),
        "page": client.get(at),
        "history": client.get(at.replace("/change/", "/history/")),
        "add": client.get(listed(model) + "add/"),
        "change": client.post(at, {}),
        "delete": client.post(at.replace("/change/", "/delete/"), {"post": "yes"}),
        **{
            "button " + name: client.get(at.replace("/change/", f"/{name}/"))
            for name in buttons(model)
        },
    }
    assert {a.status_code for a in answers.values()} <= {200, 302, 403}
    return {what.partition(" ")[0] for what, answer in answers.items() if answer.status_code != 403}


@pytest.mark.parametrize("verb", OPENS)
@each_model
def test_a_permission_opens_what_is_listed(model: Any, verb: str, clerk: User) -> None:
    """A permission to look that changes something; a button that looks at no permission."""
    expected = OPENS[verb] - (set() if buttons(model) else {"button"})
    if model is Group:
        expected = VIEWS & OPENS[verb]  # the rest is for superusers
    else:
        expected = expected | ({verb} & samples.collected("EDITABLE").get(model, set()))
    assert opened(give(clerk, permission(model, verb)), model) == expected


@each_model
def test_all_other_permissions_open_nothing(model: Any, clerk: User) -> None:
    """A view that looks at another model's permission, or at the staff flag alone."""
    others = Permission.objects.exclude(
        content_type__app_label=model._meta.app_label,
        content_type__model=model._meta.model_name,
    )
    assert opened(give(clerk, *others), model) == set()


@pytest.mark.parametrize("path", OF_NONE)
def test_the_staff_flag_opens_pages_without_data(path: str, clerk: User) -> None:
    answer = give(clerk).get("/admin/" + path.replace("<path:", "1").replace(">", ""))
    assert answer.status_code == OF_NONE[path]


@pytest.mark.parametrize("path", sorted(set(OF_NONE) - {"login/", "logout/"}))
def test_customers_get_into_no_page(path: str, alice: User) -> None:
    client = Client()
    client.force_login(alice)
    answer = client.get("/admin/" + path.replace("<path:", "1").replace(">", ""))
    assert (answer.status_code, answer["Location"][:13]) == (302, "/admin/login/")


def clerk_of_users(clerk: User) -> Client:
    return give(clerk, *Permission.objects.filter(content_type__app_label__in=["users", "auth"]))


POWERS = [
    {"is_superuser": True},
    {"is_staff": True},
    {"is_staff": True, "is_superuser": True},
    {"granted": ["orders:ship"]},
]


@pytest.mark.parametrize("power", POWERS, ids=str)
def test_an_account_with_powers_is_changed_by_superusers_only(
    power: dict[str, Any], alice: User, clerk: User
) -> None:
    """Staff who set a superuser's password, or e-mail address, and sign in as them."""
    User.objects.filter(id=alice.id).update(**power)
    before = User.objects.values().get(id=alice.id)
    client = clerk_of_users(clerk)
    secret = {"password1": "another horse battery", "password2": "another horse battery"}
    at = page(alice)
    form = {"name": "x", "email": "x@example.com", "address": ""}

    assert client.get(at).status_code == 200
    assert client.post(at, form).status_code == 403
    password = at.replace("/change/", "/password/")
    assert client.get(password).status_code == 403
    assert client.post(password, secret | {"usable_password": "true"}).status_code == 403
    assert User.objects.values().get(id=alice.id) == before


def test_a_password_is_shown_to_nobody(alice: User, clerk: User) -> None:
    """The hash of a password on a page that is read-only."""
    text = give(clerk, permission(User, "view")).get(page(alice)).content.decode()
    assert alice.email in text
    assert alice.password.rpartition("$")[2] not in text


def test_a_customer_is_changed_by_staff_who_may(alice: User, clerk: User) -> None:
    form = {"name": "Al", "email": "al@example.com", "address": "", "granted": ["orders:ship"]}
    clerk_of_users(clerk).post(page(alice), form | {"is_superuser": "on", "is_staff": "on"})
    after = User.objects.get(id=alice.id)
    assert (after.name, after.granted, after.is_staff, after.is_superuser) == (
        "Al",
        [],
        False,
        False,
    )


def test_groups_are_changed_by_superusers_only(clerk: User) -> None:
    """Staff who give their own group all permissions."""
    group = Group.objects.create(name="packers")
    clerk.groups.add(group)
    client = clerk_of_users(clerk)
    everything = list(Permission.objects.values_list("pk", flat=True))

    assert client.get(page(group)).status_code == 200
    assert client.post(page(group), {"name": "x", "permissions": everything}).status_code == 403
    add = listed(Group) + "add/"
    assert client.post(add, {"name": "y", "permissions": everything}).status_code == 403
    client.post(listed(Group), {"action": "delete_selected", "_selected_action": [group.pk]})
    assert list(Group.objects.values_list("name", flat=True)) == ["packers"]
    assert not group.permissions.exists()


LOOKUPS = ["", "__exact", "__startswith", "__contains", "__regex", "__gte", "__isnull", "__in"]


def linked(model: Any) -> set[str]:
    """What a list may be narrowed by: what it is searched by, and its filters."""
    made = admin.site._registry[model]
    filters = {
        f.parameter_name if isinstance(f, type) else f if isinstance(f, str) else f[0]
        for f in made.list_filter
    }
    return filters | set(made.search_fields)


@each_model
def test_a_list_is_not_narrowed_by_what_it_does_not_declare(model: Any, desk: Client) -> None:
    """Secrets that are found out letter by letter, from how many rows there are."""
    for field in model._meta.fields:
        if field.name in linked(model):
            continue
        for lookup in LOOKUPS:
            answer = desk.get(listed(model), {field.name + lookup: "1"})
            assert answer.status_code == 400, field.name + lookup


HIDDEN = {
    Saga: ["data__token__startswith", "data__has_key"],
    IdempotencyKey: ["operation_id__startswith"],
    **samples.collected("HIDDEN"),
}


@pytest.mark.parametrize(("model", "lookup"), [(m, each) for m in HIDDEN for each in HIDDEN[m]])
def test_hidden_values_are_not_probed(model: Any, lookup: str, desk: Client) -> None:
    """Staff who look at sagas and find out a card's token by `?data__token__startswith=`."""
    assert desk.get(listed(model), {lookup: "t"}).status_code == 400
