"""The topology: the contexts, the policies of their calls, and the placements."""

from severable.topology.admin_paths import admin_paths
from severable.topology.loading import load, path, refuse_undeployable
from severable.topology.model import (
    ENTRY,
    Cached,
    Context,
    Deploy,
    Deployment,
    Edge,
    Fault,
    Policy,
    Process,
    Topology,
    TopologyError,
)

__all__ = [
    "ENTRY",
    "Cached",
    "Context",
    "Deploy",
    "Deployment",
    "Edge",
    "Fault",
    "Policy",
    "Process",
    "Topology",
    "TopologyError",
    "admin_paths",
    "load",
    "path",
    "refuse_undeployable",
]
