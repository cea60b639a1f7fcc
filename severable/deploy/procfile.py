"""A Procfile for each placement: its processes on one machine, for honcho, foreman or the like."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from severable.config import commands
from severable.topology import Deployment, Topology


def render(topology: Topology) -> dict[str, str]:
    """Return the files by their paths."""
    return {
        f"deploy/procfile/{placement}": "".join(f"{line}\n" for line in _lines(topology, placement))
        for placement in topology.placements
    }


def _lines(topology: Topology, placement: str) -> Iterator[str]:
    deployments = topology.deployments(placement)
    yield "# Once, before these start:"
    for deployment in deployments:
        yield f"#   {_shell(placement, deployment, 'web', commands.prepare())}"
    for deployment in deployments:
        pairs = deployment.pairs()
        for number, (http, grpc) in enumerate(pairs, 1):
            name = f"{deployment.name}-web{number if len(pairs) > 1 else ''}"
            command = _shell(placement, deployment, "web", commands.web(http), GRPC_LISTEN=grpc)
            yield f"{name}: {command}"
        if deployment.queues:
            worker = _shell(placement, deployment, "worker", commands.worker(deployment))
            yield f"{deployment.name}-worker: {worker}"
            relay = _shell(placement, deployment, "relay", commands.relay())
            yield f"{deployment.name}-relay: {relay}"


def _shell(
    placement: str, deployment: Deployment, kind: str, arguments: list[str], **more: str
) -> str:
    variables = {"SHOP_PLACEMENT": placement, "SHOP_DEPLOYMENT": deployment.name, **more}
    if deployment.processes:
        variables["DATABASE_POOL"] = str(deployment.processes.of(kind).connections)
    assigned = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " ".join([*assigned, "python", *map(shlex.quote, arguments)])
