"""Checks of topology.toml before it is deployed, beyond those that the shop needs to run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from severable.topology import contracts
from severable.topology.checks import paths
from severable.topology.model import ENTRY, Deployment, Edge, Topology
from severable.topology.problem import Problem

RESERVED = 3  # connections that PostgreSQL keeps for superusers (superuser_reserved_connections)


def problems(topology: Topology) -> Iterator[Problem]:
    """Yield the problems that prevent a deployment, or that would occur in it."""
    if topology.deploy is None:
        yield Problem(("deploy",), "is missing: the image, its tag and the limits of the servers")
    if topology.edge is None:
        yield Problem(("edge",), "is missing: the host that clients reach, its limits and timeouts")
    for name in topology.faults:
        yield Problem(("faults", name), "faults on purpose are for development only")
    yield from _methods(topology)
    yield from _edge(topology)
    for placement in topology.placements:
        yield from _processes(topology, placement)


def _methods(topology: Topology) -> Iterator[Problem]:
    """Yield the settings of methods that contradict their contracts."""
    for policy in topology.policies.values():
        for path, own in policy.methods.items():
            place = ("methods", path.removeprefix("/"))
            if contracts.method(path) is None:
                yield Problem(place, "no contract has this method")
            elif own.retries and not contracts.repeatable(path):
                yield Problem(
                    (*place, "retries"),
                    f"{own.retries}, but by its contract it may not come twice: "
                    "it has no idempotency_level",
                )


def _edge(topology: Topology) -> Iterator[Problem]:
    edge, deploy = topology.edge, topology.deploy
    if edge is None:
        return
    for name, context in topology.contexts.items():
        within = topology.policies[name].timeout
        if context.routes and within > edge.timeout:
            yield Problem(
                ("edge", "timeout"),
                f"{edge.timeout:g} s is shorter than the {within:g} s of a call: edge -> {name}",
            )
    yield from _multiplied(topology, edge)
    if deploy and deploy.grace < deploy.drain + edge.timeout:
        yield Problem(
            ("deploy", "grace"),
            f"{deploy.grace:g} s is shorter than deploy.drain and edge.timeout together "
            f"({deploy.drain + edge.timeout:g} s): requests would be cut off",
        )


def _multiplied(topology: Topology, edge: Edge) -> Iterator[Problem]:
    # Of calls on the way only the outermost are retried: so these and the edge count.
    calls = {pair for path in paths(topology) for pair in pairwise(path)}
    for caller, callee in sorted(calls) if edge.retries else ():
        again = topology.policies[callee].retries
        if again and (topology.contexts[caller].routes or caller == ENTRY):
            yield Problem(
                ("edge", "retries"),
                f"{edge.retries} here and {again} of calls.{callee} multiply to "
                f"{(1 + edge.retries) * (1 + again)} calls for one request: edge -> {caller} -> "
                f"{callee}; leave one of them at 0",
            )


def _processes(topology: Topology, placement: str) -> Iterator[Problem]:
    for deployment in topology.deployments(placement):
        place = ("placements", placement, deployment.name)
        if deployment.processes is None:
            yield Problem(
                place,
                "has no limits: [processes.web], [processes.worker] and "
                "[processes.relay] are missing",
            )
            continue
        for kind in deployment.kinds:
            found = deployment.processes.of(kind)
            most, cpu = found.max_replicas, found.cpu_limit
            if most < found.replicas:
                text = f"max_replicas = {most} is less than {found.replicas} replicas"
                yield Problem((*place, kind), text)
            if cpu < found.cpu:
                text = f"cpu_limit = {cpu:g} is less than cpu = {found.cpu:g}"
                yield Problem((*place, kind), text)
    needed = connections(topology, placement)
    there = topology.deploy.database_connections - RESERVED if topology.deploy else needed
    if needed > there:
        yield Problem(
            ("deploy", "database_connections"),
            f"placement {placement!r} may open {needed} connections, and {there} are free: "
            "have less connections or max_replicas, or a server that allows more",
        )


def connections(topology: Topology, placement: str) -> int:
    """Return how many connections a placement opens to PostgreSQL if all is scaled out.

    While processes are rolled out there may be one more of each kind, and one that prepares.
    """
    return sum(_connections(deployment) for deployment in topology.deployments(placement))


def _connections(deployment: Deployment) -> int:
    if deployment.processes is None:
        return 0
    kinds = [deployment.processes.of(kind) for kind in deployment.kinds]
    return 1 + sum((each.max_replicas + 1) * each.connections for each in kinds)
