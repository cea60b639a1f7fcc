"""Calls between deployments: timeouts, retries and faults, and the limits of callees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc

from severable.deploy.calls import FEED, all_callers, callees, methods, packages
from severable.deploy.istio.names import NETWORKING, duration, host
from severable.deploy.kubernetes.resources import Resource, grpc_service, labels, resource
from severable.deploy.routes import routes
from severable.deploy.workloads import GRPC_PORT, HTTP_PORT
from severable.rpc.client.policy import Retry
from severable.rpc.server.health import SERVICE as HEALTH
from severable.rpc.transcoding import HTTP_OF, VARIABLE, rule
from severable.topology import Deployment, Fault, Policy, Topology
from severable.topology.contracts import repeatable

# Only if there was no response. A response UNAVAILABLE may mean that a callee further on was not
# there: retries of it by each caller on the way would multiply.
RETRY_ON = "connect-failure,refused-stream,reset"
EJECTION_SWEEP = "1s"
MAX_EJECTION_PERCENT = 50  # of a callee's pods: the others get the calls


class Handling(NamedTuple):
    """The timeout, retries and faults of the calls of a method."""

    timeout: float
    retries: int
    fault: Fault | None


class Channel(NamedTuple):
    """gRPC or REST: the paths of its methods, and the signs of a failed call."""

    service: str
    port: int
    match: Callable[[str], Resource]
    abort: Callable[[str], Resource]


def resources(topology: Topology, placement: str) -> Iterator[Resource]:
    """Yield the configuration of callers' proxies."""
    public = {route.deployment.name for route in routes(topology, placement)}
    for deployment in topology.deployments(placement):
        called = bool(all_callers(topology, placement, deployment))
        if called:
            for channel in _channels(deployment.name):
                yield _virtual_service(topology, deployment, channel)
            yield _destination(topology, deployment, grpc_service(deployment.name), limited=True)
        if called or deployment.name in public:
            yield _destination(topology, deployment, deployment.name, limited=False)
        yield _sidecar(topology, placement, deployment)


def handling(topology: Topology, deployment: Deployment, package: str, method: str) -> Handling:
    """Return how calls of a method are made. The feed is that of all contexts that run there."""
    again = repeatable(method)
    if package == FEED:
        found = policies(topology, deployment)
        return Handling(
            timeout=max(policy.timeout_of(method) for policy in found),
            retries=min(policy.retries_of(method) for policy in found) if again else 0,
            fault=None,
        )
    context = topology.context_of(package).name
    policy = topology.policies[context]
    return Handling(
        timeout=policy.timeout_of(method),
        retries=policy.retries_of(method) if again else 0,
        fault=topology.faults.get(context),
    )


def policies(topology: Topology, deployment: Deployment) -> list[Policy]:
    """Return the policies of the contexts of a deployment that may be called."""
    contexts = (topology.contexts[name] for name in deployment.contexts)
    return [topology.policies[context.name] for context in contexts if context.package]


def _channels(name: str) -> list[Channel]:
    return [
        Channel(
            service=grpc_service(name),
            port=GRPC_PORT,
            match=lambda method: {"uri": {"exact": method}},
            abort=lambda code: {"grpcStatus": code},
        ),
        Channel(
            service=name,
            port=HTTP_PORT,
            match=_match_rest,
            abort=lambda code: {"httpStatus": HTTP_OF[grpc.StatusCode[code]]},
        ),
    ]


def _match_rest(method: str) -> Resource:
    at = rule(method)
    parts = VARIABLE.split(at.template)
    uri = {"exact": at.template}
    if len(parts) > 1:
        pattern = (re.escape(p) if index % 2 == 0 else "[^/]+" for index, p in enumerate(parts))
        uri = {"regex": "".join(pattern)}
    return {"uri": uri, "method": {"exact": at.verb}}


def _virtual_service(topology: Topology, deployment: Deployment, channel: Channel) -> Resource:
    name = host(topology, channel.service)
    route = [{"destination": {"host": name, "port": {"number": channel.port}}}]
    http: list[Resource] = [
        {
            "match": [channel.match(method) for method in together],
            "route": route,
            "timeout": duration(how.timeout),
            "retries": {"attempts": how.retries, **({"retryOn": RETRY_ON} if how.retries else {})},
            **({"fault": _fault(how.fault, channel)} if how.fault else {}),
        }
        for how, together in _grouped(topology, deployment).items()
    ]
    if channel.port == GRPC_PORT:
        # Callers watch a server's health for as long as they are connected: no timeout.
        watched: Resource = {"match": [{"uri": {"prefix": f"/{HEALTH}/"}}], "route": route}
        http.append({**watched, "retries": {"attempts": 0}})
    spec = {"hosts": [name], "http": http}
    return resource(NETWORKING, "VirtualService", channel.service, spec=spec)


def _grouped(topology: Topology, deployment: Deployment) -> dict[Handling, list[str]]:
    found: dict[Handling, list[str]] = {}
    for package in packages(topology, deployment):
        for method in methods(package):
            how = handling(topology, deployment, package, method)
            found.setdefault(how, []).append(method)
    return found


def _fault(fault: Fault, channel: Channel) -> Resource:
    found: Resource = {}
    if fault.delay and fault.delay_percent:
        share = {"percentage": {"value": fault.delay_percent}}
        found["delay"] = {**share, "fixedDelay": duration(fault.delay)}
    if fault.abort_percent:
        share = {"percentage": {"value": fault.abort_percent}}
        found["abort"] = {**share, **channel.abort(fault.abort)}
    return found


def _destination(
    topology: Topology, deployment: Deployment, service: str, limited: bool
) -> Resource:
    """Return how the pods of a Service are chosen. For calls, not for clients of the public API,
    it is limited how many are under way from one pod."""
    found = policies(topology, deployment) or list(topology.policies.values())
    policy: dict[str, Any] = {
        "loadBalancer": {"simple": "LEAST_REQUEST"},
        "outlierDetection": {
            "consecutiveGatewayErrors": min(each.breaker_failures for each in found),
            "consecutive5xxErrors": 0,  # an INTERNAL error is an answer
            "interval": EJECTION_SWEEP,
            "baseEjectionTime": duration(max(0.001, *(each.breaker_seconds for each in found))),
            "maxEjectionPercent": MAX_EJECTION_PERCENT,
        },
    }
    if limited:
        calls = sum(each.concurrency for each in found)
        pool = {"http1MaxPendingRequests": calls, "http2MaxRequests": calls}
        policy["connectionPool"] = {"http": pool}
        policy["retryBudget"] = {
            "percent": 100 * min(each.retry_budget for each in found),
            "minRetryConcurrency": int(Retry.RESERVE),
        }
    spec = {"host": host(topology, service), "trafficPolicy": policy}
    return resource(NETWORKING, "DestinationRule", service, spec=spec)


def _sidecar(topology: Topology, placement: str, deployment: Deployment) -> Resource:
    called = callees(topology, placement, deployment)
    services = [name for each in called for name in (each.name, grpc_service(each.name))]
    hosts = [f"./{host(topology, name)}" for name in services] or ["~/*"]
    spec = {
        "workloadSelector": {"labels": labels(deployment.name)},
        # The servers are outside the mesh; NetworkPolicies allow them.
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        "egress": [{"hosts": hosts}],
    }
    return resource(NETWORKING, "Sidecar", deployment.name, spec=spec)
