"""The OpenAPI document is valid, complete, and says what is answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from apps.users.models import User
from severable.api import documents
from tests.api.matrix import MATRIX, Key
from tests.api.routes import PARAMETER, documented, in_document, served
from tests.conftest import ClientFor
from tests.threads import together

UNDOCUMENTED = {"/health/live", "/health/ready", "/metrics", "/api/schema", "/api/docs"}


def test_the_document_is_valid() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_the_document_has_every_route() -> None:
    routes = {(method, in_document(path)) for method, path in served() if path not in UNDOCUMENTED}

    assert set(documented()) == routes


@pytest.mark.parametrize("key", [k for k in MATRIX if MATRIX[k].documented], ids=" ".join)
def test_the_document_has_what_is_answered(key: Key) -> None:
    responses = documented()[key[0], in_document(key[1])]["responses"]
    assert set(map(str, MATRIX[key].documented)) <= set(responses)


@pytest.mark.django_db(transaction=True)
def test_the_document_is_built_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was built anew for each request: anybody could keep all processes busy with it."""
    built = []
    real = SchemaGenerator.get_schema

    def build(self: Any, *args: Any, **kwargs: Any) -> Any:
        built.append(1)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(SchemaGenerator, "get_schema", build)
    documents._rendered.cache_clear()
    answers = together(8, lambda _: APIClient().get("/api/schema?format=json"))

    assert len(built) == 1
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["paths"].keys() == {path for _, path in documented()}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_document_that_is_known_is_not_sent_again(anonymous: APIClient, kind: str) -> None:
    path = f"/api/schema?format={kind}"
    first = anonymous.get(path)
    again = anonymous.get(path, headers={"If-None-Match": first["ETag"]})
    other = anonymous.get(path, headers={"If-None-Match": '"of-an-earlier-version"'})

    assert (first.status_code, again.status_code, other.status_code) == (200, 304, 200)
    assert again.content == b""
    assert again["ETag"] == first["ETag"]
    assert first["Cache-Control"] == "public, max-age=60"
    assert "Accept" in first["Vary"]
    assert first["Content-Type"].startswith("application/vnd.oai.openapi")


def test_json_and_yaml_are_told_apart(db: None, anonymous: APIClient) -> None:
    tags = {anonymous.get(f"/api/schema?format={kind}")["ETag"] for kind in ("json", "yaml")}

    assert len(tags) == 2


ODD: dict[str, Callable[[APIClient, str], Any]] = {
    "OPTIONS": lambda client, path: client.options(path),
    "OPTIONS of a browser": lambda client, path: client.options(
        path, headers={"Accept": "text/html"}
    ),
    "HEAD": lambda client, path: client.head(path),
    "DELETE": lambda client, path: client.delete(path),
    "JSON wanted": lambda client, path: client.get(path, headers={"Accept": "application/json"}),
}


@pytest.mark.parametrize("ask", ODD.values(), ids=ODD)
@pytest.mark.parametrize("path", sorted({path for _, path in served()}))
def test_an_odd_method_is_answered_everywhere(
    staff: User, client_for: ClientFor, path: str, ask: Callable[[APIClient, str], Any]
) -> None:
    """OPTIONS /api/docs was a 500: there was no template for the answer."""
    path = re.sub(r"<uuid:\w+>", "0190b5d2-0000-7000-8000-000000000000", path)
    path = PARAMETER.sub("1", path)

    assert ask(client_for(staff), path).status_code < 500
