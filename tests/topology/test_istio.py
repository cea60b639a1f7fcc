"""The mesh routes, times and retries calls as topology.toml says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from severable.deploy.calls import methods
from severable.deploy.istio import calls
from severable.deploy.routes import routes
from severable.rpc.client.policy import repeatable
from severable.rpc.transcoding import rule
from severable.topology import Fault, Topology
from severable.topology.model import MethodPolicy
from tests.topology.manifests import (
    COMPONENT,
    HEALTH,
    NAME,
    PLACEMENTS,
    TOPOLOGY,
    Resource,
    may_call,
    mesh,
    of,
    path_of,
    pods,
    resources,
    validate,
)


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
            may_call(placement, d, callee) for d in topology.deployments(placement) if d != callee
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
            if may_call(placement, caller, other)
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
