"""The mesh's resources are valid, and allow, time and retry calls as topology.toml says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.urls import resolve

from protos import events_pb2
from shop.api import keys
from shop.rendering.calls import methods
from shop.rendering.istio import calls
from shop.rendering.routes import routes
from shop.rpc.policy import repeatable
from shop.rpc.transcoding import VARIABLE, rule
from shop.topology import Deployment, Fault, Topology
from shop.topology.model import MethodPolicy
from tests.processes import ROOT
from tests.topology.manifests import (
    Resource,
    kustomize,
    mesh,
    of,
    pods,
    resources,
    selects,
    validate,
)
from tests.topology.test_kubernetes import COMPONENT, GRPC, HTTP, NAME, labels, may_call

TOPOLOGY: Topology = settings.TOPOLOGY
PLACEMENTS = list(TOPOLOGY.placements)
FEED = events_pb2.DESCRIPTOR.package
HEALTH = "/grpc.health.v1.Health/Watch"
EDGE, STRANGER = "ns/shop/sa/edge", "ns/shop/sa/stranger"
PROMETHEUS = "ns/monitoring/sa/prometheus"


def account(deployment: str) -> str:
    return f"ns/shop/sa/{deployment}"


def contracts(deployment: Deployment) -> list[str]:
    served = [p for c in deployment.contexts if (p := TOPOLOGY.contexts[c].package)]
    return [*served, FEED] if served else []


def path_of(method: str) -> str:
    """The path of a call over REST."""
    return VARIABLE.sub("7", rule(method).template)


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


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("VirtualService", "spec.http.0.retry", {"attempts": 1}),
        ("VirtualService", "spec.http.1.retries.attempts", "two"),
        ("DestinationRule", "spec.trafficPolicy.loadBalancer.simple", "FAIREST"),
        ("AuthorizationPolicy", "spec.rules", {}),
        ("PeerAuthentication", "spec.mtls.mode", "STRICTEST"),
        ("RequestAuthentication", "spec.jwtRules.0.jwks_uri", ["x"]),
        ("Gateway", "spec.servers.0.port.number", "80"),
        ("Sidecar", "spec.egress.0.host", []),
    ],
)
def test_an_error_is_found(kind: str, path: str, wrong: Any) -> None:
    resource = list(of(kind, mesh(TOPOLOGY, "split")).values())[-1]
    validate(resource)
    inner: Any = resource
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] = wrong
    with pytest.raises(jsonschema.ValidationError, match=wrong if isinstance(wrong, str) else last):
        validate(resource)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_kubectl_builds_the_overlay_without_nginx(placement: str) -> None:
    built = kustomize(ROOT / "deploy/istio" / placement)
    for resource in built:
        validate(resource)
    there = pods(built)
    assert "edge" not in there and not of("Ingress", built)
    assert not [name for name in of("ConfigMap", built) if name.startswith("edge")]
    assert there["edge-istio"]["metadata"]["annotations"] == {
        "inject.istio.io/templates": "gateway"
    }
    [placed] = [m for name, m in of("ConfigMap", built).items() if name.startswith("placement-")]
    assert placed["data"]["SHOP_MESH"] == "1" and placed["data"]["SHOP_PLACEMENT"] == placement
    [namespace] = of("Namespace", built).values()
    assert namespace["metadata"]["labels"]["istio-injection"] == "enabled"
    for name, service in of("Service", built).items():
        assert "clusterIP" not in service["spec"], f"the mesh does not balance {name}"
        assert any(
            selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
            for pod in there.values()
        )
    for name, pod in there.items():
        if "-prepare-" in name:
            assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


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
            watched = caller != callee and may_call(placement, caller.name, callee.name)
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


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_public_routes_lead_where_those_of_nginx_lead(placement: str) -> None:
    edge = of("VirtualService", mesh(TOPOLOGY, placement))["edge"]["spec"]
    assert TOPOLOGY.edge and edge["hosts"] == [TOPOLOGY.edge.host]
    for route in routes(TOPOLOGY, placement):
        for path in {route.path.replace("*", "7"), f"{route.path.rstrip('/')}/7".replace("*", "7")}:
            expected = next(r for r in routes(TOPOLOGY, placement) if covers(r.path, path))
            found = chosen(edge, path)
            to = found["route"][0]["destination"]
            assert to["host"] == f"{expected.deployment.name}.shop.svc.cluster.local"
            assert found["timeout"] == f"{TOPOLOGY.edge.timeout:g}s"
            assert found["retries"] == {"attempts": TOPOLOGY.edge.retries}
    for hidden in ("/internal/users/7", "/metrics"):
        assert chosen(edge, hidden)["directResponse"] == {"status": 404}


def covers(route: str, path: str) -> bool:
    if "*" in route:
        return bool(re.fullmatch(route.replace("*", "[^/]+"), path))
    return route == "/" or f"{path}/".startswith(f"{route}/")


def chosen(spec: Resource, path: str, verb: str = "GET") -> Resource:
    """As Istio chooses a route: the first that matches."""
    for http in spec["http"]:
        for match in http.get("match", [{}]):
            uri = match.get("uri", {"prefix": ""})
            [(how, text)] = uri.items()
            compare = {"exact": path.__eq__, "prefix": path.startswith}.get(how)
            hit = compare(text) if compare else re.fullmatch(text, path)
            if hit and match.get("method", {"exact": verb}) == {"exact": verb}:
                found: Resource = http
                return found
    raise AssertionError(f"no route for {path}")


def handled(topology: Topology, placement: str) -> Iterator[tuple[str, str, Resource]]:
    """(context, method, route) of every method that is called from another deployment."""
    services = of("VirtualService", mesh(topology, placement))
    for callee in topology.deployments(placement):
        if not any(
            may_call(placement, d.name, callee.name)
            for d in topology.deployments(placement)
            if d != callee
        ):
            assert callee.name not in services
            continue
        for context in callee.contexts:
            package = topology.contexts[context].package
            for method in methods(package) if package else ():
                yield context, method, chosen(services[f"{callee.name}-grpc"]["spec"], method)
                rest = chosen(services[callee.name]["spec"], path_of(method), rule(method).verb)
                yield context, method, rest


@pytest.mark.parametrize("placement", ["split", "mixed"])
def test_calls_have_the_timeouts_and_retries_of_their_policies(placement: str) -> None:
    seen = set()
    for context, method, route in handled(TOPOLOGY, placement):
        policy = TOPOLOGY.policies[context]
        assert route["timeout"] == f"{policy.timeout_of(method):g}s"
        expected = policy.retries_of(method) if repeatable(method) else 0
        assert route["retries"]["attempts"] == expected
        seen.add(route["timeout"])
    assert seen >= {"2s", "5s"}


def test_only_what_may_come_twice_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    once = "/payment.PaymentService/Pay"
    monkeypatch.setattr(calls, "repeatable", lambda method: method != once)
    found = {method: route["retries"] for _, method, route in handled(TOPOLOGY, "split")}
    assert found[once] == {"attempts": 0}
    assert found["/payment.PaymentService/Refund"]["attempts"] == 2


def test_retries_do_not_multiply() -> None:
    """A callee that answers UNAVAILABLE has retried already; and the shop's own retries are off."""
    for _, _, route in handled(TOPOLOGY, "split"):
        again = set(route["retries"].get("retryOn", "").split(",")) - {""}
        assert again <= {"connect-failure", "refused-stream", "reset"}
    assert {policy.retries for policy in TOPOLOGY.in_mesh().policies.values()} == {0}


def test_watching_a_servers_health_has_no_timeout() -> None:
    """A caller watches it for as long as it is connected."""
    for name, service in of("VirtualService", mesh(TOPOLOGY, "split")).items():
        if name.endswith("-grpc"):
            assert "timeout" not in chosen(service["spec"], HEALTH)


def test_a_change_of_a_timeout_changes_the_mesh() -> None:
    policy = TOPOLOGY.policies["payments"]
    method = "/payment.PaymentService/Pay"
    slower = replace(policy, methods={method: MethodPolicy(timeout=3.5)}, concurrency=7)
    topology = replace(TOPOLOGY, policies={**TOPOLOGY.policies, "payments": slower})
    found = {m: route["timeout"] for _, m, route in handled(topology, "split")}
    assert found[method] == "3.5s" and found["/payment.PaymentService/Refund"] == "5s"
    rule = of("DestinationRule", mesh(topology, "split"))["payments-grpc"]["spec"]["trafficPolicy"]
    assert rule["connectionPool"]["http"]["http2MaxRequests"] == 7
    assert rule["loadBalancer"] == {"simple": "LEAST_REQUEST"}
    assert rule["outlierDetection"]["consecutiveGatewayErrors"] == policy.breaker_failures
    assert rule["outlierDetection"]["baseEjectionTime"] == f"{policy.breaker_seconds:g}s"


def test_faults_on_purpose_are_made_by_the_mesh() -> None:
    fault = Fault(delay=2.0, delay_percent=10.0, abort="UNAVAILABLE", abort_percent=5.0)
    topology = replace(TOPOLOGY, faults={"payments": fault})
    for resource in resources(topology, "istio"):
        validate(resource)
    for context, _, route in handled(topology, "split"):
        assert ("fault" in route) == (context == "payments")
        if context == "payments":
            delay, abort = route["fault"]["delay"], route["fault"]["abort"]
            assert delay == {"percentage": {"value": 10.0}, "fixedDelay": "2s"}
            share = {"percentage": {"value": 5.0}}
            assert abort in (share | {"grpcStatus": "UNAVAILABLE"}, share | {"httpStatus": 503})


def test_faults_are_rendered_for_the_mesh_alone(tmp_path: Any, settings: Any) -> None:
    settings.TOPOLOGY = replace(TOPOLOGY, faults={"payments": Fault(abort_percent=5.0)})
    settings.BASE_DIR = tmp_path
    call_command("topology", "render", "istio")
    assert "percentage" in (tmp_path / "deploy/istio/split/calls.yaml").read_text()
    for target in ("kubernetes", "all"):
        with pytest.raises(CommandError, match="development only"):
            call_command("topology", "render", target)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_proxies_know_only_whom_their_pods_call(placement: str) -> None:
    found = of("Sidecar", mesh(TOPOLOGY, placement))
    for caller in TOPOLOGY.deployments(placement):
        called = {
            f"./{name}.shop.svc.cluster.local"
            for other in TOPOLOGY.deployments(placement)
            if other != caller and may_call(placement, caller.name, other.name)
            for name in (other.name, f"{other.name}-grpc")
        }
        spec = found[caller.name]["spec"]
        assert set(spec["egress"][0]["hosts"]) == (called or {"~/*"})
        assert spec["workloadSelector"]["labels"] == {NAME: caller.name}


def test_the_gateway_listens_where_its_pods_do() -> None:
    found = mesh(TOPOLOGY, "split")
    [container] = pods(found)["edge-istio"]["spec"]["containers"]
    open_ports = {port["containerPort"] for port in container["ports"]}
    gateway = of("Gateway", found)["edge"]["spec"]
    assert {server["port"]["number"] for server in gateway["servers"]} == open_ports
    assert gateway["selector"] == {NAME: "edge", COMPONENT: "istio"}
    plain, secure = (server["tls"] for server in gateway["servers"])
    assert plain == {"httpsRedirect": True} and secure["credentialName"] == "edge-tls"
