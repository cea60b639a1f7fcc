"""The OpenAPI document is valid, complete, and says what is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from apps.users.models import User
from severable.api import documents, merging
from severable.topology import Deployment
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
    documents._own.cache_clear()
    documents._kept.clear()
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


# The gateway of a split shop


@pytest.fixture
def split(settings: Any) -> Iterator[None]:
    """This process is the gateway's, and documents the other deployments."""
    settings.PLACEMENT = "split"
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "gateway")
    documents._kept.clear()
    yield
    documents._kept.clear()


def document_of(name: str) -> dict[str, Any]:
    return {
        "info": {"title": "", "version": "1"},
        "paths": {f"/api/{name}": {"get": {}}},
        "components": {"schemas": {name.title(): {"type": "object"}, "Problem": {}}},
    }


@pytest.mark.usefixtures("split")
def test_the_gateway_documents_the_operations_of_all_deployments(
    db: None, anonymous: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_fetch", lambda deployment, host: document_of(deployment.name))
    document = anonymous.get("/api/schema?format=json").json()

    assert {f"/api/{name}" for name in ("users", "payments")} <= document["paths"].keys()
    assert {"Users", "Payments", "Problem"} <= document["components"]["schemas"].keys()
    assert "do not respond" not in document["info"]["description"]


@pytest.mark.usefixtures("split")
def test_a_deployment_that_does_not_respond_is_named_and_asked_again(
    db: None, anonymous: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document without it was kept for as long as the process ran."""
    down = {"payments"}

    def fetch(deployment: Deployment, host: str) -> dict[str, Any] | None:
        return None if deployment.name in down else document_of(deployment.name)

    monkeypatch.setattr(merging, "_fetch", fetch)
    monkeypatch.setattr(documents, "INCOMPLETE", 0.0)
    incomplete = anonymous.get("/api/schema?format=json").json()
    down.clear()
    complete = anonymous.get("/api/schema?format=json").json()

    assert "they do not respond now: payments." in incomplete["info"]["description"]
    assert "/api/users" in incomplete["paths"] and "/api/payments" not in incomplete["paths"]
    assert "/api/payments" in complete["paths"]


@pytest.mark.usefixtures("split")
def test_no_deployment_responding_is_no_error(db: None, anonymous: APIClient) -> None:
    """Nothing listens at the addresses of the other deployments."""
    response = anonymous.get("/api/schema?format=json")

    assert response.status_code == 200
    assert "they do not respond now: users, " in response.json()["info"]["description"]


@pytest.mark.usefixtures("split")
def test_a_deployment_that_is_frozen_delays_one_request_only(
    db: None, anonymous: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread that asked for the document waited for it, until none was left."""
    monkeypatch.setattr(merging, "_fetch", lambda deployment, host: None)
    monkeypatch.setattr(documents, "INCOMPLETE", 0.0)
    first = anonymous.get("/api/schema?format=json")
    with documents._building:  # as while a thread waits for the frozen one
        second = anonymous.get("/api/schema?format=json")

    assert second.content == first.content


def test_schemas_of_one_name_that_differ_are_told_apart() -> None:
    """The states of a payment were documented as those of an order."""

    def document(state: str) -> dict[str, Any]:
        state_of = {"$ref": "#/components/schemas/StatusEnum"}
        schemas = {"StatusEnum": {"enum": [state]}, state.title(): {"status": state_of}}
        return {"info": {}, "paths": {}, "components": {"schemas": schemas}}

    found = {"orders": document("shipped"), "payments": document("captured"), "more": None}
    schemas = merging.merge({"info": {}, "paths": {}}, found)["components"]["schemas"]

    assert schemas["StatusEnum"] == {"enum": ["shipped"]}
    assert schemas["PaymentsStatusEnum"] == {"enum": ["captured"]}
    assert schemas["Captured"]["status"]["$ref"].endswith("/PaymentsStatusEnum")
    assert schemas["Shipped"]["status"]["$ref"].endswith("/StatusEnum")


def test_only_the_gateway_asks_others(settings: Any) -> None:
    settings.PLACEMENT = "split"
    settings.DEPLOYMENT = settings.TOPOLOGY.deployment("split", "payments")

    assert merging.others() == []
