"""Names and values as Istio writes them."""

from __future__ import annotations

from collections.abc import Iterable

from severable.deploy.kubernetes.resources import required
from severable.topology import Topology

NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
TRUST_DOMAIN = "cluster.local"
HIDDEN = ("/internal", "/metrics")  # paths that no client reaches


def host(topology: Topology, service: str) -> str:
    """Return the full name of a Service."""
    return f"{service}.{required(topology)[1].namespace}.svc.cluster.local"


def principal(namespace: str, account: str) -> str:
    """Return who shows a certificate of a service account."""
    return f"{TRUST_DOMAIN}/ns/{namespace}/sa/{account}"


def duration(seconds: float) -> str:
    """Return a duration, such as "2.5s"."""
    return f"{seconds:g}s"


def below(paths: Iterable[str]) -> list[str]:
    """Return the patterns of an AuthorizationPolicy for paths and all that is below them."""
    return [pattern for path in paths for pattern in (path, f"{path}/*")]
