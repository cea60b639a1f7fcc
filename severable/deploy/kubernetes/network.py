"""NetworkPolicies: pods reach the deployments that they may call, and the servers."""

from __future__ import annotations

from collections.abc import Iterable

from severable.deploy import nginx
from severable.deploy.calls import all_callers, callees
from severable.deploy.kubernetes.resources import EDGE, NAME, Resource, resource, selector
from severable.deploy.routes import routes
from severable.deploy.workloads import GRPC_PORT, HTTP_PORT
from severable.topology import Deployment, Topology

NAMESPACE = "kubernetes.io/metadata.name"
MONITORING, PROMETHEUS = "monitoring", {NAME: "prometheus"}  # its namespace and label
DNS_PORT, ISTIOD_PORT = 53, 15012


def base() -> list[Resource]:
    """Return the policy of all pods: they reach the DNS, and nothing reaches them."""
    dns = {
        "to": [_in_namespace("kube-system", {"k8s-app": "kube-dns"})],
        "ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")],
    }
    return [
        policy("default-deny", {}, policyTypes=["Ingress", "Egress"]),
        policy("dns", {}, policyTypes=["Egress"], egress=[dns]),
    ]


def policies(topology: Topology, placement: str) -> list[Resource]:
    """Return the policies of the deployments of a placement and of the edge."""
    public = {route.deployment.name for route in routes(topology, placement)}
    found = [
        each
        for deployment in topology.deployments(placement)
        for each in _of(topology, placement, deployment, deployment.name in public)
    ]
    to_public = {"to": [_pods(name, "web") for name in sorted(public)], "ports": _ports(HTTP_PORT)}
    anyone = {"ports": _ports(nginx.PORT)}
    return [
        *found,
        policy(f"{EDGE}-in", selector(EDGE), policyTypes=["Ingress"], ingress=[anyone]),
        policy(f"{EDGE}-out", selector(EDGE), policyTypes=["Egress"], egress=[to_public]),
    ]


def control_plane() -> Resource:
    """Return the policy that lets the proxies of a mesh reach its control plane."""
    to = [_in_namespace("istio-system", {"app": "istiod"})]
    egress = [{"to": to, "ports": _ports(ISTIOD_PORT)}]
    return policy("istiod", {}, policyTypes=["Egress"], egress=egress)


def _of(
    topology: Topology, placement: str, deployment: Deployment, public: bool
) -> Iterable[Resource]:
    name = deployment.name
    scraped = {
        "from": [_in_namespace(MONITORING, PROMETHEUS)],
        "ports": _ports(HTTP_PORT),
    }
    ingress: list[Resource] = [scraped]
    if callers := all_callers(topology, placement, deployment):
        by = [_pods(other.name) for other in callers]
        ingress.append({"from": by, "ports": _ports(HTTP_PORT, GRPC_PORT)})
    if public:
        ingress.append({"from": [_pods(EDGE)], "ports": _ports(HTTP_PORT)})
    yield policy(f"{name}-in", selector(name, "web"), policyTypes=["Ingress"], ingress=ingress)
    if called := callees(topology, placement, deployment):
        to = [_pods(other.name, "web") for other in called]
        egress = [{"to": to, "ports": _ports(HTTP_PORT, GRPC_PORT)}]
        yield policy(f"{name}-out", selector(name), policyTypes=["Egress"], egress=egress)


def policy(name: str, pods: Resource, **spec: object) -> Resource:
    """Return a NetworkPolicy for the pods that are selected."""
    return resource(
        "networking.k8s.io/v1", "NetworkPolicy", name, spec={"podSelector": pods, **spec}
    )


def _pods(name: str, component: str = "") -> Resource:
    return {"podSelector": selector(name, component)}


def _in_namespace(namespace: str, labels: dict[str, str]) -> Resource:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE: namespace}},
        "podSelector": {"matchLabels": labels},
    }


def _ports(*numbers: int) -> list[Resource]:
    return [{"protocol": "TCP", "port": number} for number in numbers]
