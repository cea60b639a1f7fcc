"""Kubernetes: a kustomize base, and for each placement an overlay and a component for KEDA."""

from __future__ import annotations

from collections.abc import Iterator

from severable.deploy import yaml
from severable.deploy.kubernetes import edge, network, pods, scaling, services
from severable.deploy.kubernetes.resources import (
    PLACEMENT,
    PREPARE,
    Resource,
    grpc_service,
    required,
    resource,
    text,
)
from severable.deploy.kubernetes.secrets import script
from severable.deploy.workloads import GRPC_PORT, HTTP_PORT, Site, Workload, workloads
from severable.topology import Topology

FOLDER = "deploy/kubernetes"
SETTINGS = "../../../settings"  # the operator's, from an overlay


def render(topology: Topology) -> dict[str, str]:
    """Return the files by their paths."""
    found = _base(topology)
    for placement in topology.placements:
        found |= _overlay(topology, placement)
    return {f"{FOLDER}/{path}": text for path, text in found.items()}


def site(topology: Topology, placement: str) -> Site:
    """Return the addresses of deployments: the names of their Services."""
    names = [deployment.name for deployment in topology.deployments(placement)]
    return Site(
        http={name: f"{name}:{HTTP_PORT}" for name in names},
        grpc={name: f"{grpc_service(name)}:{GRPC_PORT}" for name in names},
    )


def kustomization(kind: str = "Kustomization", **body: object) -> str:
    """Return a kustomization.yaml."""
    version = "v1beta1" if kind == "Kustomization" else "v1alpha1"
    return yaml.dump({"apiVersion": f"kustomize.config.k8s.io/{version}", "kind": kind, **body})


def _base(topology: Topology) -> dict[str, str]:
    namespace = resource("v1", "Namespace", required(topology)[1].namespace)
    restricted = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
    }
    namespace["metadata"]["labels"] = restricted
    return {
        "base/kustomization.yaml": kustomization(resources=["namespace.yaml", "policies.yaml"]),
        "base/namespace.yaml": text(namespace),
        "base/policies.yaml": text(*network.base()),
    }


def _overlay(topology: Topology, placement: str) -> dict[str, str]:
    deploy = required(topology)[1]
    found = workloads(topology, placement, site(topology, placement))
    shared = pods.shared_environment(topology, placement, site(topology, placement))
    files = {
        f"{deployment.name}.yaml": text(
            services.account(deployment.name),
            *_running([w for w in found if w.deployment == deployment], deploy.image, shared),
        )
        for deployment in topology.deployments(placement)
    }
    files |= {
        f"{PREPARE}.yaml": text(
            *(
                pods.preparation(topology, placement, deployment)
                for deployment in topology.deployments(placement)
            )
        ),
        "policies.yaml": text(*network.policies(topology, placement)),
        "edge.yaml": text(*edge.resources(topology)),
    }
    files["kustomization.yaml"] = kustomization(
        namespace=deploy.namespace,
        resources=["../../base", SETTINGS, *files],
        configMapGenerator=[
            {"name": PLACEMENT, "literals": [f"{k}={v}" for k, v in shared.items()]},
            edge.configuration(),
        ],
    )
    files[edge.FILE] = edge.nginx_conf(topology, placement)
    files["secrets.sh"] = script(topology, placement)
    files |= _keda(found)
    return {f"overlays/{placement}/{path}": text for path, text in files.items()}


def _running(found: list[Workload], image: str, shared: dict[str, str]) -> Iterator[Resource]:
    for workload in found:
        yield pods.processes(workload, image, shared)
        if workload.kind == "web":
            yield from services.services(workload.deployment.name)
            yield from services.availability(workload)


def _keda(found: list[Workload]) -> dict[str, str]:
    workers = [workload for workload in found if workload.kind == "worker"]
    return {
        "keda/kustomization.yaml": kustomization(
            "Component",
            resources=["workers.yaml"],
            patches=[scaling.unscaled(worker) for worker in workers],
        ),
        "keda/workers.yaml": text(*(each for worker in workers for each in scaling.scaled(worker))),
    }
