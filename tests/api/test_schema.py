"""The OpenAPI document is valid, complete, and says what is answered."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import call_command

from tests.api.routes import documented, served

UNDOCUMENTED = {"/health/live", "/health/ready", "/metrics", "/api/schema", "/api/docs"}


def test_the_document_is_valid() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


def test_the_document_has_every_route() -> None:
    routes = {
        (method, re.sub(r"<\w+:(\w+)>", r"{\1}", path))
        for method, path in served()
        if path not in UNDOCUMENTED
    }

    assert set(documented()) == routes


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("POST", "/api/orders", {"201", "202", "400", "401", "402", "409", "413", "415", "422"}),
        ("GET", "/api/orders", {"200", "400", "401", "404"}),
        ("GET", "/api/orders/{order_id}", {"200", "401", "404"}),
        ("GET", "/api/inventory/products", {"200", "400", "404"}),
        ("POST", "/api/auth/token", {"200", "400", "401"}),
        ("PATCH", "/api/users/{user_id}/credit", {"200", "402", "403", "404"}),
    ],
)
def test_the_document_has_what_is_answered(method: str, path: str, statuses: set[str]) -> None:
    assert statuses <= set(documented()[method, path]["responses"])
