"""One sign-in of staff for all deployments, which ends everywhere as soon as its token does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from apps.users import services
from apps.users.models import User
from severable.api import staff
from tests.admin.views import page
from tests.conftest import MakeUser
from tests.processes import manage

MINT = """
from base64 import urlsafe_b64encode as b64
from datetime import timedelta
import json, jwt
from django.conf import settings
from django.http import HttpResponse
from severable.api import key_ring, staff
from severable.api.auth import AccessToken

def claims(token):
    token["sub"], token["username"], token["staff"] = "7", "ada", True
    token["superuser"], token["groups"] = True, []
    return token

class Foreign(staff.StaffToken):
    _token_backend = AccessToken._token_backend

good = claims(staff.StaffToken())
late = claims(staff.StaffToken())
late.set_exp(lifetime=timedelta(seconds=-6))
soon = claims(staff.StaffToken())
soon.set_exp(lifetime=timedelta(seconds=60))
clerk = claims(staff.StaffToken())
clerk["sub"], clerk["username"], clerk["superuser"] = "8", "eve", False
clerk["groups"] = ["packers", "of users only"]
odd = claims(staff.StaffToken())
odd["sub"] = "1; --"
head, body, signature = str(good).split(".")
none = b64(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
public = key_ring.public_keys()[0]["n"]
kid = {"kid": key_ring.public_keys()[0]["kid"]}
print(json.dumps({
    "good": str(good), "soon": str(soon), "clerk": str(clerk),
    "expired": str(late), "no user": str(odd),
    "an API token": str(claims(AccessToken())),
    "of another audience": str(claims(Foreign())),
    "of another type": key_ring.sign({**good.payload, "token_type": "access"}, staff.AUDIENCE),
    "unsigned": f"{none}.{body}.",
    "signed with the public key": jwt.encode(
        {**good.payload, "aud": staff.AUDIENCE, "iss": "shop"}, public, "HS256", kid),
    "changed": f"{head}.{b64(b64(body.encode())).decode()}.{signature}",
    "empty": "", "nonsense": "x.y.z",
}))
"""
USE = """
import json, sys
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
page = "/admin/orders/order/?q=7"
tokens = json.loads({tokens!r})
found = {{}}
packers = Group.objects.create(name="packers")
packers.permissions.add(Permission.objects.get(codename="view_order"))
for name, token in tokens.items():
    client = Client(headers={{"Accept": "text/html"}})
    client.cookies["staff"] = token
    answer = client.get(page)
    found[name] = [answer.status_code, answer.get("Location", "")]
    if name == "soon":
        found["a form"] = client.post("/admin/orders/order/", {{"action": "ship"}}).status_code
        found["a part of a page"] = client.get(page, headers={{"HX-Request": "true"}}).status_code
    if name == "clerk":
        found["not hers"] = client.get("/admin/orders/parcel/").status_code
        found["not an API token"] = client.get("/api/orders").status_code
        api = Client(headers={{"Authorization": "Bearer " + token}})
        found["not in a header"] = api.get("/api/orders").status_code
found["without"] = Client().get(page).status_code
found["no sign-in here"] = Client().get("/admin/login/").status_code
found["no password here"] = Client().post(
    "/admin/login/", {{"username": "ada", "password": tokens["an API token"]}}).status_code
accounts = User.objects.values_list("pk", "username", "is_staff", "is_superuser")
found["accounts"] = {{str(pk): rest for pk, *rest in accounts}}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the admin of a deployment without users answers, by the token in the cookie."""
    env = {"VAR_DIR": str(tmp_path_factory.mktemp("var")), "SHOP_PLACEMENT": "split"}
    users, orders = env | {"SHOP_DEPLOYMENT": "users"}, env | {"SHOP_DEPLOYMENT": "orders"}
    minted = manage(users, "shell", "-v0", "-c", MINT)
    assert minted.stdout, minted.stderr
    tokens = minted.stdout.strip()
    manage(orders, "migrate", "-v0")
    done = manage(orders, "shell", "-v0", "-c", USE.format(tokens=tokens))
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_token_of_staff_opens_the_admin_and_nothing_else(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["good"] == [200, ""]
    assert (elsewhere["not an API token"], elsewhere["not in a header"]) == (401, 401)


@pytest.mark.parametrize(
    "name",
    [
        *("expired", "no user", "an API token", "of another audience", "of another type"),
        *("unsigned", "signed with the public key", "changed", "empty", "nonsense"),
    ],
)
def test_any_other_token_leads_to_the_sign_in(elsewhere: dict[str, Any], name: str) -> None:
    """A token of the API, or a forged one, that opens the admin of a deployment."""
    assert elsewhere[name] == [302, "/admin/login/?next=/admin/orders/order/%3Fq%3D7"]


def test_a_page_renews_a_token_that_ends_soon(elsewhere: dict[str, Any]) -> None:
    """A form that is lost because the token ended while it was filled in."""
    assert elsewhere["soon"] == [302, "/admin/login/?next=/admin/orders/order/%3Fq%3D7"]
    assert elsewhere["a form"] != 404 and elsewhere["a part of a page"] == 200


def test_without_a_cookie_a_deployments_own_port_opens_nothing(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["without"] == 302
    assert (elsewhere["no sign-in here"], elsewhere["no password here"]) == (403, 403)


def test_the_rights_are_those_of_the_token(elsewhere: dict[str, Any]) -> None:
    """A superuser who was demoted and stays one in the account that another deployment keeps."""
    assert (elsewhere["clerk"], elsewhere["not hers"]) == ([200, ""], 403)
    assert elsewhere["accounts"] == {"7": ["ada", False, False], "8": ["eve", False, False]}


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


def sign_in(client: Client, **fields: str) -> Any:
    form = {"username": "boss", "password": "correct horse battery"} | fields
    return client.post("/admin/login/", form)


def test_signing_in_gives_a_cookie_that_scripts_cannot_read(boss: User, client: Client) -> None:
    cookie = sign_in(client, next="/admin/users/user/").cookies["staff"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] == 300
    assert staff.StaffToken(cookie.value)["sub"] == str(boss.id)


def test_a_customer_gets_no_cookie(alice: User, client: Client) -> None:
    """A session of the API's pages that becomes one of staff."""
    assert "staff" not in sign_in(client, username="alice").cookies
    client.force_login(alice)
    assert "staff" not in client.get("/admin/login/?next=/admin/").cookies


@pytest.mark.parametrize("where", ["https://evil.example", "//evil.example", "javascript:x", ""])
def test_the_sign_in_leads_to_no_other_host(boss: User, client: Client, where: str) -> None:
    """A link to the real sign-in page that leads to one that asks for the password again."""
    assert sign_in(client, next=where)["Location"] == "/admin/"
    assert client.get("/admin/login/", {"next": where})["Location"] == "/admin/"


def test_who_has_signed_in_is_sent_back_with_a_new_token(desk: Client) -> None:
    answer = desk.get("/admin/login/", {"next": "/admin/payments/payment/?q=1"})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/payments/payment/?q=1")
    assert answer.cookies["staff"].value


def test_signing_out_ends_everything(boss: User, client: Client) -> None:
    """A cookie that stays, and opens every deployment but the one with the users."""
    sign_in(client)
    answer = client.post("/admin/logout/")
    assert (answer.cookies["staff"].value, answer.cookies["sessionid"].value) == ("", "")
    assert client.get("/admin/login/", {"next": "/admin/"}).status_code == 200


@pytest.mark.parametrize("access", ENDED.values(), ids=ENDED)
def test_who_is_no_longer_staff_gets_no_new_token(
    access: dict[str, Any], boss: User, desk: Client
) -> None:
    """Access to the other deployments ends when the last token does: after five minutes."""
    services.set_access(user_id=boss.id, granted=[], **access)
    answer = desk.get("/admin/login/", {"next": "/admin/"})
    assert (answer.status_code, "staff" in answer.cookies) == (200, False)
