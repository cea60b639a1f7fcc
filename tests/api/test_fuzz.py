"""Whatever is sent to the public API, it answers: as documented, and never with a 5xx."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from apps.users.models import User
from tests import samples
from tests.api.routes import at, documented
from tests.chaos.running import BROKER
from tests.conftest import token_of

pytestmark = pytest.mark.django_db

DETERMINISTIC = settings(
    max_examples=40 if BROKER else 20,  # `make test-services` has servers, and takes longer
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
OPERATIONS = documented()
WORDS = samples.listed("WORDS")
INTERNALS = (b"Traceback (", b"SELECT ", b"site-packages")

odd = st.sampled_from(
    ["", "\0", "\ud800", "x" * 5000, "'", "%", "😀", "\u202e", *WORDS]
) | st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1.5, 1e308, True, None, [], {}, [[]], {"": None}])
junk = st.recursive(
    odd | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
path_parts = st.integers().map(str) | st.uuids().map(str) | st.text().map(quote)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Idempotency-Key": st.text(st.characters(codec="latin-1")),
        "Prefer": st.text(st.sampled_from('respond-async,wait=5; "é'), max_size=20),
        "Accept": st.sampled_from(["*/*", "application/json", "", "a", "text/html;q=x", "é"]),
        "Authorization": st.sampled_from(["Bearer", "Bearer é", "Basic eDp4", "bearer a.b.c"]),
        "X-Request-ID": st.text(st.characters(codec="latin-1")),
    },
)


def like(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what a schema asks for; else junk."""
    return _valid(schema) | _valid(schema) | _valid(schema) | junk


def _valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "allOf" in schema:
        return _valid(schema["allOf"][0])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _OF_TYPE.get(schema.get("type", ""), _text)(schema)


def _object(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: like(field) for name, field in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _text(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if schema.get("format") == "email":
        return st.emails()
    return st.sampled_from(["-id", *WORDS]) | st.text()


_OF_TYPE: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "object": _object,
    "array": lambda schema: st.lists(like(schema["items"]), max_size=3),
    "integer": lambda schema: st.integers(schema.get("minimum"), schema.get("maximum")),
    "boolean": lambda schema: st.booleans(),
}


def body_of(operation: dict[str, Any]) -> st.SearchStrategy[Any]:
    content = operation.get("requestBody", {}).get("content", {})
    return like(content["application/json"]["schema"]) if content else junk


def query_of(operation: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    named = [p for p in operation.get("parameters", ()) if p["in"] == "query"]
    return st.fixed_dictionaries({}, optional={p["name"]: like(p["schema"]) for p in named})


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_is_answered_as_documented(method: str, path: str, staff: User) -> None:
    operation, known = OPERATIONS[method, path], dict(samples.Objects(staff))
    at(path, known)

    @DETERMINISTIC
    @given(data=st.data())
    def send(data: st.DataObject) -> None:
        parts = {
            name: data.draw(st.just(known[name]) | path_parts, name)
            for name in re.findall(r"{(\w+)}", path)
        }
        query = urlencode(data.draw(query_of(operation), "query"), errors="replace")
        sent = json.dumps(data.draw(body_of(operation), "body")) if method != "GET" else ""
        client = APIClient(raise_request_exception=False)
        answer = client.generic(
            method,
            f"{path.format(**parts)}?{query}",
            sent,
            content_type="application/json",
            headers={"Authorization": f"Bearer {token_of(staff)}"} | data.draw(headers, "headers"),
        )

        routed = answer.wsgi_request.resolver_match
        assert answer.status_code < 500, answer.content
        assert not routed or str(answer.status_code) in operation["responses"], answer.content
        assert not [word for word in INTERNALS if word in answer.content]

    send()


SURROGATES = ["\ud800", "tok\udfff", "a\udc80b"]
WRITES = [key for key, operation in OPERATIONS.items() if "requestBody" in operation]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_lone_surrogate_is_refused_in_each_field(staff: User, method: str, path: str) -> None:
    """It is valid JSON and no text: in a choice it was a 500, as nothing could write it down."""
    media = OPERATIONS[method, path]["requestBody"]["content"]["application/json"]
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token_of(staff)}")
    path = at(path, samples.Objects(staff))
    for name in media["schema"]["properties"]:
        for value in SURROGATES:
            body = json.dumps({name: value})
            answer = client.generic(method, path, body, content_type="application/json")

            assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
            assert name in [error["field"] for error in answer.json()["errors"]]
