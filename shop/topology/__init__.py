"""Which contexts there are, how they call each other, and which run together: topology.toml."""

from shop.topology.loading import load, path, refuse_undeployable
from shop.topology.model import (
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
