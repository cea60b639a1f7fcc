"""Orchestrators and Prometheus reach a process by its own address, without a name or TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from severable.http import Answer, Front
from severable.http.threads import Threads
from tests.front.asking import asked, scope_of

PROBES = ["/health/live", "/health/ready", "/metrics"]
POD = "10.244.1.7:8000"


class Everything:
    """A gateway that forwards all that it is asked."""

    def route(self, environ: dict[str, Any]) -> Callable[[bytes], Awaitable[Answer]]:
        async def elsewhere(body: bytes) -> Answer:
            return Answer(502, [])

        return elsewhere

    async def close(self) -> None:
        """Nothing is open."""


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
def test_a_gateway_forwards_no_probe(path: str) -> None:
    """The health of another deployment says nothing about this process."""
    front = Front(Threads(here), Everything())
    answer = asyncio.run(asked(front, scope_of("GET", path, [("Host", POD)]), []))
    assert answer.status == 200
