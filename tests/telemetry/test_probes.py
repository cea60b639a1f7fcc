"""Orchestrators and Prometheus reach a process by its own address, without a name or TLS."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.gateway.proxy import Gateway
from apps.gateway.upstream import Upstream
from severable.http import Front
from severable.http.threads import Threads
from tests.front.asking import asked, scope_of

PROBES = ["/health/live", "/health/ready", "/metrics"]
POD = "10.244.1.7:8000"


@pytest.mark.django_db
@pytest.mark.parametrize("path", PROBES)
def test_probes_are_answered_under_any_host(path: str, client: APIClient, settings: Any) -> None:
    """With ALLOWED_HOSTS set, no pod became ready: its kubelet sends the pod's address."""
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path, headers={"Host": POD}).status_code == 200
    assert client.get("/api/docs", headers={"Host": POD}).status_code != 200


def here(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI application that this process runs."""
    start_response("200 OK", [])
    return [b"ok"]


@pytest.mark.parametrize("path", PROBES)
def test_a_gateway_forwards_no_probe(path: str, settings: Any) -> None:
    """The health of another deployment says nothing about this process."""
    elsewhere = Upstream(("no.such.invalid:1",), settings.TOPOLOGY.policies["orders"])
    gateway = Gateway(Front(Threads(here)), {"/health": elsewhere, "/metrics": elsewhere}, [])
    answer = asyncio.run(asked(gateway, scope_of("GET", path, [("Host", POD)]), []))
    assert answer.status == 200
