"""The edge in a mesh: Istio's gateway, in the shop's own namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator

from severable.api.key_ring import AUDIENCE, ISSUER
from severable.deploy import nginx
from severable.deploy.istio.names import HIDDEN, NETWORKING, SECURITY, below, duration, host
from severable.deploy.kubernetes.edge import REPLICAS, TLS_SECRET
from severable.deploy.kubernetes.network import policy
from severable.deploy.kubernetes.pods import deployment, secured_pod, spread
from severable.deploy.kubernetes.pods import resources as limits
from severable.deploy.kubernetes.resources import (
    EDGE,
    Resource,
    labels,
    required,
    resource,
    selector,
)
from severable.deploy.routes import Route, routes
from severable.deploy.workloads import HTTP_PORT
from severable.topology import Topology

ISTIO = "istio"
NAME = f"{EDGE}-{ISTIO}"
HTTP, HTTPS = nginx.PORT, 8443  # the gateway's port; its Service has the usual ports
USER = 1337  # of Istio's images
JWKS = "/.well-known/jwks.json"
# If nothing has reached the shop, any request can be retried.
RETRY_ON = "connect-failure,refused-stream"


def resources(topology: Topology, placement: str) -> list[Resource]:
    """Return the gateway's pods, the public routes, and the checks of tokens."""
    pods = deployment(NAME, EDGE, ISTIO, REPLICAS, _pod(topology))
    pods["spec"]["template"]["metadata"]["annotations"] = {"inject.istio.io/templates": "gateway"}
    return [
        pods,
        _service(),
        _gateway(topology),
        _routes(topology, placement),
        _tokens(topology, placement),
        _permissions(topology, placement),
    ]


def reachable() -> Resource:
    """Return the NetworkPolicy that allows clients at the gateway's TLS port."""
    ports = [{"protocol": "TCP", "port": HTTPS}]
    return policy(NAME, selector(EDGE, ISTIO), policyTypes=["Ingress"], ingress=[{"ports": ports}])


def _pod(topology: Topology) -> Resource:
    return {
        "serviceAccountName": EDGE,
        "terminationGracePeriodSeconds": int(required(topology)[1].grace),
        "securityContext": secured_pod(USER),
        "topologySpreadConstraints": [spread(EDGE, ISTIO)],
        # Istio's injection fills it in.
        "containers": [
            {
                "name": "istio-proxy",
                "image": "auto",
                "ports": [
                    {"name": "http", "containerPort": HTTP},
                    {"name": "https", "containerPort": HTTPS},
                ],
                "resources": limits(0.1, 2.0, 256),
            }
        ],
    }


def _service() -> Resource:
    ports = [
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "https", "port": 443, "targetPort": "https"},
    ]
    spec = {"type": "LoadBalancer", "selector": labels(EDGE, ISTIO), "ports": ports}
    return resource("v1", "Service", NAME, spec=spec)


def _gateway(topology: Topology) -> Resource:
    hosts = [required(topology)[0].host]
    spec = {
        "selector": labels(EDGE, ISTIO),
        "servers": [
            {
                "port": {"number": HTTP, "name": "http", "protocol": "HTTP"},
                "hosts": hosts,
                "tls": {"httpsRedirect": True},
            },
            {
                "port": {"number": HTTPS, "name": "https", "protocol": "HTTPS"},
                "hosts": hosts,
                "tls": {"mode": "SIMPLE", "credentialName": TLS_SECRET},
            },
        ],
    }
    return resource(NETWORKING, "Gateway", EDGE, spec=spec)


def _routes(topology: Topology, placement: str) -> Resource:
    edge = required(topology)[0]
    hidden = {
        "match": [each for path in HIDDEN for each in _at(path)],
        "directResponse": {"status": 404},
    }
    spec = {
        "hosts": [edge.host],
        "gateways": [EDGE],
        "http": [hidden, *_forwarded(topology, routes(topology, placement))],
    }
    return resource(NETWORKING, "VirtualService", EDGE, spec=spec)


def _forwarded(topology: Topology, found: list[Route]) -> Iterator[Resource]:
    edge = required(topology)[0]
    retries = {"attempts": edge.retries, **({"retryOn": RETRY_ON} if edge.retries else {})}
    for route in found:
        to = {"host": host(topology, route.deployment.name), "port": {"number": HTTP_PORT}}
        yield {
            "match": [_exactly(route.path)] if route.exact else _at(route.path),
            "route": [{"destination": to}],
            "timeout": duration(edge.timeout),
            "retries": retries,
        }


def _at(path: str) -> list[Resource]:
    if path == "/":
        return [{"uri": {"prefix": path}}]
    return [{"uri": {"exact": path}}, {"uri": {"prefix": f"{path}/"}}]


def _exactly(path: str) -> Resource:
    return {"uri": {"regex": "[^/]+".join(map(re.escape, path.split("*")))}}


def _tokens(topology: Topology, placement: str) -> Resource:
    # Not for other pods: between deployments calls carry tokens of another kind.
    found = (r for r in routes(topology, placement) if f"{JWKS}/".startswith(f"{r.path}/"))
    keys = next(found, routes(topology, placement)[-1]).deployment.name
    rule = {
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwksUri": f"http://{host(topology, keys)}:{HTTP_PORT}{JWKS}",
        "forwardOriginalToken": True,
    }
    spec = {"selector": selector(EDGE), "jwtRules": [rule]}
    return resource(SECURITY, "RequestAuthentication", EDGE, spec=spec)


def _permissions(topology: Topology, placement: str) -> Resource:
    guarded = [route for route in routes(topology, placement) if route.permission]
    all_others: Resource = {}
    if guarded:
        paths = below(route.path for route in guarded)
        all_others = {"to": [{"operation": {"notPaths": paths}}]}
    rules = [
        {
            "to": [{"operation": {"paths": below([route.path])}}],
            "when": [{"key": "request.auth.claims[permissions]", "values": [route.permission]}],
        }
        for route in guarded
    ]
    spec = {"selector": selector(EDGE), "rules": [all_others, *rules]}
    return resource(SECURITY, "AuthorizationPolicy", EDGE, spec=spec)
