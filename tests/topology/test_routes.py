"""The edge sends each path to the deployment that answers it."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from apps.gateway.urls import composed
from severable.deploy.routes import routes
from severable.topology import ENTRY

TOPOLOGY = settings.TOPOLOGY


@pytest.mark.parametrize("placement", TOPOLOGY.placements)
def test_each_path_has_the_context_that_owns_it(placement: str) -> None:
    found = {route.path: route.deployment for route in routes(TOPOLOGY, placement)}
    for context in TOPOLOGY.contexts.values():
        for path in context.routes:
            assert found[path] == TOPOLOGY.where(placement, context.name)
    assert found["/"] == TOPOLOGY.where(placement, ENTRY)


def test_the_most_particular_comes_first() -> None:
    """An edge that looked at /api/orders first would never ask the gateway for a summary."""
    paths = [route.path for route in routes(TOPOLOGY, "split")]
    assert paths.index("/api/orders/*/summary") < paths.index("/api/orders")
    assert paths[-1] == "/"


def test_the_edge_knows_the_admin_of_each_deployment() -> None:
    """Behind nginx or a mesh the admin of every context was the gateway's, which has none."""
    found = {route.path: route.deployment.name for route in routes(TOPOLOGY, "split")}
    assert found["/admin/payments"] == found["/admin/at/payments"] == "payments"
    assert found["/admin/login"] == "users"
    assert "/admin" not in found
    assert "/admin/payments" not in {route.path for route in routes(TOPOLOGY, "one")}


def test_a_guarded_path_says_what_it_needs() -> None:
    found = {route.path: route.permission for route in routes(TOPOLOGY, "split")}
    assert found["/api/admin/orders"] == "admin:orders"
    assert found["/api/orders"] == ""


def test_composed_paths_are_those_of_the_gateway() -> None:
    """A new composed answer that topology.toml does not name is 404 behind the edge."""
    there = {"/" + re.sub(r"<[^>]+>", "*", str(url.pattern)) for url in composed}
    assert there == set(TOPOLOGY.contexts[ENTRY].composed)
