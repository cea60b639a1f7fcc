"""Every answer says what a browser may load and run, and every page gets by with it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.test import Client

from apps.users.models import User
from tests.admin import rows
from tests.admin.views import MODELS, OF_NONE, buttons, listed, page, path_of
from tests.api.matrix import MATRIX, READS, Key, ask
from tests.api.routes import at
from tests.samples import Known

pytestmark = pytest.mark.django_db

HEADER = "Content-Security-Policy"


class Inline(HTMLParser):
    """Collects what a page would run that is in no file: scripts, handlers, javascript: links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.found.append("script")
        self.found += [name for name in given if name.startswith("on")]
        self.found += [v for v in given.values() if v and v.lower().startswith("javascript:")]


def directives(answer: Any) -> dict[str, list[str]]:
    split = [directive.split() for directive in answer[HEADER].split(";")]
    return {name: sources for name, *sources in split}


def assert_is_a_page(answer: Any) -> None:
    assert answer["Content-Type"].startswith("text/html")
    assert Inline(answer.content.decode()).found == []
    policy = directives(answer)
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
    assert "'unsafe-inline'" not in policy.get("script-src", [])


def assert_is_data(answer: Any) -> None:
    assert directives(answer) == {"default-src": ["'none'"], "frame-ancestors": ["'none'"]}


@pytest.mark.parametrize("key", MATRIX, ids=" ".join)
def test_data_loads_nothing(key: Key, clients: Any, places: Known) -> None:
    """An answer that a browser is made to show as a page, errors included."""
    for client in clients.values():
        answer = ask(client, key, places)
        if key[1] == "/api/docs":
            assert_is_a_page(answer)
        else:
            assert_is_data(answer)


@pytest.mark.parametrize("path", ["/api/nothing", "/internal/users/1", "/static/nothing.js"])
def test_errors_have_a_policy(path: str, client: Client) -> None:
    """What comes from a middleware, or before a view is found."""
    assert_is_data(client.get(path))
    early = client.get(path, headers={"Authorization": "Bearer x", "Host": "bad host"})
    assert_is_data(early)
    assert "X-Request-ID" in early


def test_whoever_has_signed_in_can_sign_out_of_the_browsable_api(desk: Client) -> None:
    """A link that only a script makes work."""
    html = desk.get("/api/users/me", headers={"Accept": "text/html"}).content.decode()
    assert 'action="/api/logout/?next=/api/users/me"' in html
    assert "csrfmiddlewaretoken" in html
    desk.post("/api/logout/?next=/api/users/me")
    assert desk.get("/api/users/me").status_code == 401


def test_the_browsable_api_is_the_shops(desk: Client) -> None:
    """A template of the library in place of ours: its name, and a page as wide as a desk's."""
    html = desk.get("/api/users/me", headers={"Accept": "text/html"}).content.decode()
    assert "<title>Me – The shop</title>" in html
    assert "Django REST framework" not in html
    assert '<meta name="viewport" content="width=device-width' in html


@pytest.fixture
def desk(alice: User, client: Client) -> Client:
    User.objects.filter(id=alice.id).update(is_staff=True, is_superuser=True)
    client.force_login(User.objects.get(id=alice.id))
    return client


@pytest.mark.parametrize("key", READS, ids=" ".join)
def test_the_browsable_api_runs_no_inline_script(key: Key, desk: Client, places: Known) -> None:
    answer = desk.get(at(key[1], places), headers={"Accept": "text/html"})
    if answer["Content-Type"].startswith("text/html"):
        assert_is_a_page(answer)
    else:
        assert_is_data(answer)


def test_swagger_is_started_by_a_script_of_ours(client: Client) -> None:
    html = client.get("/api/docs").content.decode()
    assert 'src="/api/docs?script="' in html
    script = client.get("/api/docs?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle" in script.content.decode()


@pytest.mark.parametrize("path", ["/admin/login/", "/api/login/", "/admin/nothing/"])
def test_pages_for_everybody_have_a_policy(path: str, client: Client) -> None:
    answer = client.get(path, follow=True)
    assert_is_a_page(answer)


def pages_of_the_admin() -> list[str]:
    lists = [f"/admin/{path_of(model)}/" for model in MODELS]
    return [f"/admin/{path}" for path, status in OF_NONE.items() if status == 200] + lists


@pytest.mark.parametrize("path", pages_of_the_admin())
def test_the_admin_runs_no_inline_script(path: str, desk: Client) -> None:
    answer = desk.get(path)
    assert answer.status_code == 200
    if answer["Content-Type"].startswith("text/html"):
        assert_is_a_page(answer)
        assert directives(answer)["script-src"] == ["'self'", "'unsafe-eval'"]
    else:
        assert_is_data(answer)


@pytest.mark.parametrize("path", sorted({path_of(model) for model in MODELS}))
def test_forms_and_dialogs_run_no_inline_script(path: str, desk: Client, alice: User) -> None:
    (model,) = [model for model in MODELS if path_of(model) == path]
    row = rows.make(model, 1001)
    names = ["change", "history", *buttons(model)]
    for url in [
        *(page(row).replace("/change/", f"/{name}/") for name in names),
        f"{listed(model)}add/",
    ]:
        answer = desk.get(url)
        if answer.status_code != 403:
            assert_is_a_page(answer)
    assert_is_a_page(desk.get(f"/admin/users/user/{alice.pk}/password/"))
