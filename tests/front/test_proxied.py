"""Forwarding header fields count only if a trusted proxy sent them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from severable.api.address import GATEWAY
from severable.http.wsgi import Request
from severable.rpc import identity


def scheme(served: str = "http", **headers: str) -> str | None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": BytesIO()}
    environ |= {"wsgi.url_scheme": served, **headers}  # type: ignore[dict-item]
    return Request(environ).scheme


def test_a_client_cannot_say_that_it_came_by_https() -> None:
    """Outside development, the X-Forwarded-Proto of any client was trusted."""
    assert scheme(HTTP_X_FORWARDED_PROTO="https") == "http"


def test_a_trusted_proxy_can(settings: Any) -> None:
    settings.TRUSTED_PROXIES = 1
    assert scheme(HTTP_X_FORWARDED_PROTO="https") == "https"


@pytest.mark.parametrize("told", ["http", "https"])
def test_links_lead_to_the_gateway_by_its_own_scheme(told: str) -> None:
    """With TLS between deployments, next and previous became https:// at a plain gateway."""
    proof = {f"HTTP_{GATEWAY.upper().replace('-', '_')}": identity.token()}
    assert scheme("https", HTTP_X_FORWARDED_PROTO=told, **proof) == told
