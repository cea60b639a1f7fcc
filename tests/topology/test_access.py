"""Networks and the mesh allow exactly what topology.toml allows."""

from __future__ import annotations

import re
from itertools import product

import pytest
from django.urls import resolve

from severable.api import key_ring as keys
from severable.deploy.calls import methods
from severable.deploy.routes import routes
from tests.topology.manifests import (
    GRPC,
    HEALTH,
    HTTP,
    NAME,
    PLACEMENTS,
    TOPOLOGY,
    Resource,
    contracts,
    labels,
    may_call,
    mesh,
    of,
    overlay,
    path_of,
    reaches,
    selects,
)

EDGE, STRANGER = "ns/shop/sa/edge", "ns/shop/sa/stranger"
PROMETHEUS = "ns/monitoring/sa/prometheus"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_network_lets_pass_exactly_the_calls_of_the_contracts(placement: str) -> None:
    found = overlay(TOPOLOGY, placement)
    deployments = TOPOLOGY.deployments(placement)
    for caller, callee in product(deployments, deployments):
        expected = may_call(placement, caller, callee)
        for kind, port in product(caller.kinds, (HTTP, GRPC)):
            source, target = labels(caller.name, kind), labels(callee.name, "web")
            assert reaches(found, source, target, port) == expected, (caller.name, callee.name)
            assert not reaches(found, source, target, 22)
        for kind in callee.kinds[1:]:
            assert not reaches(found, labels(caller.name, "web"), labels(callee.name, kind), HTTP)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_network_lets_the_edge_and_prometheus_pass_and_no_others(placement: str) -> None:
    found = overlay(TOPOLOGY, placement)
    public = {route.deployment.name for route in routes(TOPOLOGY, placement)}
    edge, stranger = labels("edge", "nginx"), labels("stranger", "web")
    prometheus = {"labels": {NAME: "prometheus"}, "namespace": "monitoring"}
    elsewhere = {**stranger, "namespace": "default"}
    for deployment in TOPOLOGY.placements[placement]:
        web = labels(deployment, "web")
        assert reaches(found, edge, web, HTTP) == (deployment in public)
        assert reaches(found, prometheus, web, HTTP)
        for source, port in product((edge, prometheus, stranger, elsewhere), (HTTP, GRPC)):
            if port == GRPC or source in (stranger, elsewhere):
                assert not reaches(found, source, web, port)
    assert reaches(found, elsewhere, edge, 8080)


def account(deployment: str) -> str:
    return f"ns/shop/sa/{deployment}"


def fits(pattern: str, path: str) -> bool:
    """As Istio compares a path with a pattern of an AuthorizationPolicy."""
    assert not ("{*}" in pattern and pattern.endswith("/*")), "Istio takes one or the other"
    words = re.escape(pattern).replace(r"\{\*\}", "[^/]+")
    words = re.sub(r"\\\*$", ".*", words)
    return bool(re.fullmatch(words, path))


def allowed(
    found: list[Resource], pod: Resource, who: str, port: int, path: str, **claims: list[str]
) -> bool:
    """As Istio decides: with policies that select a pod, what none of them allows is denied."""
    policies = [
        each["spec"]
        for each in of("AuthorizationPolicy", found).values()
        if selects(each["spec"].get("selector", {}), pod["labels"])
    ]
    assert policies
    assert all(each.get("action", "ALLOW") == "ALLOW" for each in policies)
    return any(
        _admits(rule, who, port, path, claims)
        for each in policies
        for rule in each.get("rules", ())
    )


def _admits(rule: Resource, who: str, port: int, path: str, claims: dict[str, list[str]]) -> bool:
    sources = [p for each in rule.get("from", ()) for p in each["source"]["principals"]]
    if sources and f"cluster.local/{who}" not in sources:
        return False
    for condition in rule.get("when", ()):
        claim = re.fullmatch(r"request\.auth\.claims\[(\w+)\]", condition["key"])
        assert claim
        if not set(claims.get(claim[1], ())) & set(condition["values"]):
            return False
    operations = [each["operation"] for each in rule.get("to", ())]
    return not operations or any(
        str(port) in each.get("ports", [str(port)])
        and ("paths" not in each or any(fits(p, path) for p in each["paths"]))
        and not any(fits(p, path) for p in each.get("notPaths", ()))
        for each in operations
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_exactly_the_calls_of_the_contracts_are_authorized(placement: str) -> None:
    found = mesh(TOPOLOGY, placement)
    deployments = TOPOLOGY.deployments(placement)
    for callee in deployments:
        web = labels(callee.name, "web")
        for package in {p for each in deployments for p in contracts(each)}:
            served = package in contracts(callee)
            for caller, method in product(deployments, methods(package)):
                by_contract = TOPOLOGY.may_call(placement, caller.name, package)
                expected = served and caller != callee and by_contract
                who = account(caller.name)
                given = (caller.name, callee.name, method)
                assert allowed(found, web, who, GRPC, method) == expected, given
                assert allowed(found, web, who, HTTP, path_of(method)) == expected, given
                assert not allowed(found, web, who, HTTP, method)
            for who, method in product((EDGE, STRANGER, PROMETHEUS), methods(package)):
                assert not allowed(found, web, who, GRPC, method)
                assert not allowed(found, web, who, HTTP, path_of(method))
        for caller in deployments:
            watched = may_call(placement, caller, callee)
            assert allowed(found, web, account(caller.name), GRPC, HEALTH) == watched
            assert not allowed(found, web, account(caller.name), HTTP, "/api/orders")
        assert allowed(found, web, PROMETHEUS, HTTP, "/metrics")
        assert not allowed(found, web, PROMETHEUS, HTTP, "/api/orders")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_workers_and_relays_are_called_by_nobody(placement: str) -> None:
    found = mesh(TOPOLOGY, placement)
    for deployment in TOPOLOGY.deployments(placement):
        for kind in deployment.kinds[1:]:
            for who in (EDGE, account("orders"), account(deployment.name), STRANGER):
                assert not allowed(found, labels(deployment.name, kind), who, HTTP, "/metrics")
    assert of("PeerAuthentication", found)["default"]["spec"] == {"mtls": {"mode": "STRICT"}}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_edge_reaches_public_paths_and_no_others(placement: str) -> None:
    found = mesh(TOPOLOGY, placement)
    for route in routes(TOPOLOGY, placement):
        path = route.path.replace("*", "7")
        web = labels(route.deployment.name, "web")
        assert allowed(found, web, EDGE, HTTP, path)
        assert not allowed(found, web, STRANGER, HTTP, path)
        assert not allowed(found, web, EDGE, HTTP, "/metrics")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_guarded_path_needs_its_permission_at_the_edge(placement: str) -> None:
    found = mesh(TOPOLOGY, placement)
    edge = labels("edge", "istio")
    guarded = [route for route in routes(TOPOLOGY, placement) if route.permission]
    assert guarded
    for route, below in product(guarded, ("", "/7")):
        path = route.path + below
        assert not allowed(found, edge, "", HTTP, path)
        assert not allowed(found, edge, "", HTTP, path, permissions=["users:credit"])
        assert allowed(found, edge, "", HTTP, path, permissions=["x", route.permission])
    assert allowed(found, edge, "", HTTP, "/api/orders")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_tokens_are_those_of_the_shop(placement: str) -> None:
    found = mesh(TOPOLOGY, placement)
    [rule] = of("RequestAuthentication", found)["edge"]["spec"]["jwtRules"]
    assert (rule["issuer"], rule["audiences"]) == (keys.ISSUER, [keys.AUDIENCE])
    assert rule["forwardOriginalToken"], "the contexts verify it, too"
    host, _, path = rule["jwksUri"].removeprefix("http://").partition("/")
    users = TOPOLOGY.where(placement, "users").name
    assert host == f"{users}.shop.svc.cluster.local:8000"
    resolve(f"/{path}")
    assert allowed(found, labels(users, "web"), EDGE, HTTP, f"/{path}")
