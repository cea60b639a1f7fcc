"""Access in the mesh: none, but for the calls of the contracts and the edge."""

from __future__ import annotations

from collections.abc import Iterator

from severable.deploy.calls import all_callers, callers, methods, packages
from severable.deploy.istio.names import HIDDEN, SECURITY, below, principal
from severable.deploy.kubernetes.network import MONITORING
from severable.deploy.kubernetes.resources import EDGE, Resource, required, resource, selector
from severable.deploy.routes import Route, routes
from severable.deploy.workloads import GRPC_PORT, HTTP_PORT
from severable.rpc.server.health import SERVICE as HEALTH
from severable.rpc.transcoding import VARIABLE, rule
from severable.topology import Deployment, Topology

PROMETHEUS = "prometheus"  # its service account


def resources(topology: Topology, placement: str) -> Iterator[Resource]:
    """Yield mutual TLS for all pods, and the calls that each deployment allows."""
    strict = {"mtls": {"mode": "STRICT"}}
    yield resource(SECURITY, "PeerAuthentication", "default", spec=strict)
    yield resource(SECURITY, "AuthorizationPolicy", "default-deny", spec={})
    for deployment in topology.deployments(placement):
        rules = [
            *_contracts(topology, placement, deployment),
            *_public(topology, placement, deployment),
            _rule([principal(MONITORING, PROMETHEUS)], _to(HTTP_PORT, ["/metrics"])),
        ]
        spec = {"selector": selector(deployment.name, "web"), "rules": rules}
        yield resource(SECURITY, "AuthorizationPolicy", deployment.name, spec=spec)


def rest_paths(package: str) -> list[str]:
    """Return the paths of a contract over REST, as an AuthorizationPolicy writes them."""
    return sorted({_pattern(rule(method).template) for method in methods(package)})


def grpc_paths(package: str) -> list[str]:
    """Return the paths of a contract over gRPC, as an AuthorizationPolicy writes them."""
    return sorted({f"{method.rpartition('/')[0]}/*" for method in methods(package)})


def _pattern(template: str) -> str:
    """Return Istio's pattern of a path: a variable matches a segment, or the rest at the end."""
    done: list[str] = []
    for part in template.split("/"):
        if VARIABLE.search(part) and not VARIABLE.fullmatch(part):
            return "/".join([*done, "*"])
        done.append(VARIABLE.sub("{*}", part))
    return "/".join(done)


def _contracts(topology: Topology, placement: str, deployment: Deployment) -> Iterator[Resource]:
    for package in packages(topology, deployment):
        found = callers(topology, placement, deployment, package)
        if found:
            yield _rule(
                _principals(topology, found),
                _to(GRPC_PORT, grpc_paths(package)),
                _to(HTTP_PORT, rest_paths(package)),
            )
    if everyone := all_callers(topology, placement, deployment):
        yield _rule(_principals(topology, everyone), _to(GRPC_PORT, [f"/{HEALTH}/*"]))


def _public(topology: Topology, placement: str, deployment: Deployment) -> Iterator[Resource]:
    own = [route for route in routes(topology, placement) if route.deployment == deployment]
    if not own:
        return
    edge = principal(required(topology)[1].namespace, EDGE)
    if any(route.path == "/" for route in own):
        port = {"ports": [str(HTTP_PORT)]}
        yield _rule([edge], {"operation": {**port, "notPaths": below(HIDDEN)}})
    else:
        yield _rule([edge], _to(HTTP_PORT, [path for route in own for path in _paths(route)]))


def _paths(route: Route) -> list[str]:
    return [route.path.replace("*", "{*}")] if route.exact else below([route.path])


def _principals(topology: Topology, deployments: list[Deployment]) -> list[str]:
    namespace = required(topology)[1].namespace
    return [principal(namespace, each.name) for each in deployments]


def _rule(principals: list[str], *to: Resource) -> Resource:
    return {"from": [{"source": {"principals": principals}}], "to": list(to)}


def _to(port: int, paths: list[str]) -> Resource:
    return {"operation": {"ports": [str(port)], "paths": paths}}
