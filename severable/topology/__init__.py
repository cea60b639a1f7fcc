"""Which contexts there are, how they call each other, and which run together: topology.toml."""

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
    "load",
    "path",
    "refuse_undeployable",
]
