"""Sessions of staff end as soon as tokens do, in every deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apps.users import services
from apps.users.models import User
from tests.admin.views import page
from tests.conftest import MakeUser
from tests.processes import manage

TOKEN = """
from severable.api.auth import AccessToken
token = AccessToken()
token["sub"], token["username"], token["staff"], token["superuser"] = "1", "ada", True, True
print(token)
"""
USE = """
from datetime import timedelta
from unittest import mock
from django.test import Client
from django.utils import timezone

def later(**passed):
    moment = timezone.now() + timedelta(**passed)
    return mock.patch("django.utils.timezone.now", lambda: moment)

client = Client()
form = {{"username": "ada", "password": {token!r}}}
print(client.post("/admin/login/", form).status_code)
print(client.get("/admin/orders/order/").status_code)
with later(minutes=4, seconds=30):
    print(client.get("/admin/orders/order/").status_code)
    session = client.session
    session["seen"] = True
    session.save()
with later(minutes=5, seconds=1):
    print(client.get("/admin/orders/order/").status_code)
    print(client.get("/internal/orders/01a20b49-403e-72de-a702-e29af3914b74").status_code)
"""


def test_a_session_ends_with_the_token_that_opened_it(tmp_path: Path) -> None:
    """A superuser who was deactivated kept the admin of other deployments for 14 days."""
    env = {"VAR_DIR": str(tmp_path), "SHOP_PLACEMENT": "split"}
    users, orders = env | {"SHOP_DEPLOYMENT": "users"}, env | {"SHOP_DEPLOYMENT": "orders"}
    token = manage(users, "shell", "-v0", "-c", TOKEN).stdout.strip()
    manage(orders, "migrate", "-v0")
    done = manage(orders, "shell", "-v0", "-c", USE.format(token=token))
    assert done.stdout.split() == ["302", "200", "200", "302", "401"], done.stderr


ENDED = {
    "deactivated": {"is_active": False, "is_staff": True, "is_superuser": True},
    "demoted": {"is_active": True, "is_staff": False, "is_superuser": False},
}


@pytest.fixture
def boss(make_user: MakeUser) -> User:
    boss = make_user("boss")
    User.objects.filter(id=boss.id).update(is_staff=True, is_superuser=True)
    boss.refresh_from_db()
    return boss


@pytest.fixture
def desk(boss: User, client: Client) -> Client:
    client.force_login(boss)
    assert client.get("/admin/users/user/").status_code == 200
    assert client.get("/api/users/me").status_code == 200
    return client


@pytest.mark.parametrize("access", ENDED.values(), ids=ENDED)
def test_where_the_users_are_access_ends_at_once(
    access: dict[str, Any], boss: User, desk: Client
) -> None:
    services.set_access(user_id=boss.id, granted=[], **access)
    assert desk.get("/admin/users/user/").status_code == 302
    assert desk.post(page(boss), {"name": "x"}).status_code == 302
    assert desk.get(f"/internal/users/{boss.id}").status_code == 401
    assert desk.get("/api/users/me").status_code == (200 if access["is_active"] else 401)


def test_a_new_password_ends_sessions_at_once(boss: User, desk: Client) -> None:
    services.set_password(user_id=boss.id, password="another horse battery")
    assert desk.get("/admin/users/user/").status_code == 302
    assert desk.get("/api/users/me").status_code == 401
    assert desk.get(f"/internal/users/{boss.id}").status_code == 401
