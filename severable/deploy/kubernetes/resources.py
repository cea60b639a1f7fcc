"""The shape, labels and names that all Kubernetes resources have in common."""

from __future__ import annotations

from typing import Any

from severable.deploy import yaml
from severable.topology import Deploy, Edge, Topology, TopologyError

Resource = dict[str, Any]

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
EDGE = "edge"  # the name of the edge
PLACEMENT, SETTINGS = "placement", "settings"  # ConfigMaps: of topology.toml, and the operator's
PREPARE = "prepare"
PREPARE_SETTINGS = f"{PREPARE}-{SETTINGS}"


def resource(api: str, kind: str, name: str, **body: Any) -> Resource:
    """Return a resource. The kustomization gives it its namespace."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **body}


def labeled(found: Resource, name: str, component: str) -> Resource:
    """Return a resource with the labels of its pods, by which kubectl finds it."""
    return {**found, "metadata": {**found["metadata"], "labels": labels(name, component)}}


def text(*resources: Resource) -> str:
    """Return resources as a file."""
    return yaml.dump(*resources, compact=True)


def labels(name: str, component: str = "") -> dict[str, str]:
    """Return the labels of the pods of a deployment, or of those of one kind."""
    return {NAME: name, COMPONENT: component} if component else {NAME: name}


def selector(name: str, component: str = "") -> Resource:
    """Return the selector of the pods that have these labels."""
    return {"matchLabels": labels(name, component)}


def grpc_service(deployment: str) -> str:
    """Return the name of the Service by which a deployment's gRPC servers are found."""
    return f"{deployment}-grpc"


def secret(deployment: str) -> str:
    """Return the name of the Secret that the processes of a deployment get."""
    return f"{deployment}-secrets"


def required(topology: Topology) -> tuple[Edge, Deploy]:
    """Return [edge] and [deploy]. Raises TopologyError if one is missing."""
    if topology.edge is None or topology.deploy is None:
        raise TopologyError("topology.toml: [edge] and [deploy] are missing")
    return topology.edge, topology.deploy
