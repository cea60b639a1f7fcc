"""Istio: for each placement, the changes that a mesh makes to its Kubernetes overlay.

The mesh balances and retries the calls between deployments, breaks their circuits, and identifies
callers by mutual TLS. Its gateway replaces nginx.
"""

from __future__ import annotations

from severable.deploy.istio import access, calls, edge
from severable.deploy.kubernetes import kustomization
from severable.deploy.kubernetes.edge import CONFIGURATION
from severable.deploy.kubernetes.network import control_plane
from severable.deploy.kubernetes.resources import (
    EDGE,
    NAME,
    PLACEMENT,
    Resource,
    grpc_service,
    required,
    text,
)
from severable.topology import Topology

FOLDER = "deploy/istio"
MESH = "SHOP_MESH=1"  # the shop's own retries are off


def render(topology: Topology) -> dict[str, str]:
    """Return the files by their paths."""
    return {
        f"{FOLDER}/{placement}/{path}": text
        for placement in topology.placements
        for path, text in _files(topology, placement).items()
    }


def _files(topology: Topology, placement: str) -> dict[str, str]:
    files = {
        "calls.yaml": text(*calls.resources(topology, placement)),
        "edge.yaml": text(*edge.resources(topology, placement)),
        "policies.yaml": text(
            *access.resources(topology, placement), control_plane(), edge.reachable()
        ),
    }
    return files | {
        "kustomization.yaml": kustomization(
            namespace=required(topology)[1].namespace,
            resources=[f"../../kubernetes/overlays/{placement}", *files],
            configMapGenerator=[{"name": PLACEMENT, "behavior": "merge", "literals": [MESH]}],
            patches=[*_in_mesh(), *(_without(*each) for each in _replaced())],
        )
    }


def _in_mesh() -> list[Resource]:
    inject = "- {op: add, path: /metadata/labels/istio-injection, value: enabled}"
    # The proxy starts before all containers and ends after them.
    native = {"sidecar.istio.io/nativeSidecar": "true"}
    annotated = {"spec": {"template": {"metadata": {"annotations": native}}}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "all"}}
    # With a cluster IP the mesh spreads calls; without one, the callers do.
    balanced = "- {op: remove, path: /spec/clusterIP}"
    return [
        {"target": {"kind": "Namespace"}, "patch": inject},
        {
            "target": {"kind": "Deployment", "labelSelector": f"{NAME}!={EDGE}"},
            "patch": text({**deployment, **annotated}),
        },
        {"target": {"kind": "Service", "name": grpc_service(".*")}, "patch": balanced},
    ]


def _replaced() -> list[tuple[str, str, str]]:
    return [
        ("apps/v1", "Deployment", EDGE),
        ("v1", "Service", EDGE),
        ("v1", "ConfigMap", CONFIGURATION),
        ("networking.k8s.io/v1", "Ingress", EDGE),
    ]


def _without(api: str, kind: str, name: str) -> Resource:
    gone = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "$patch": "delete"}
    return {"patch": text(gone)}
