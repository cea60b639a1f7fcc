"""The differences between two placements."""

from __future__ import annotations

from collections.abc import Iterator

from severable.topology.model import Deployment, Topology
from severable.topology.picture import policy


def lines(topology: Topology, before: str, after: str) -> Iterator[str]:
    """Yield the lines: contexts that move, processes, databases, and calls that change."""
    old, new = topology.deployments(before), topology.deployments(after)
    yield f"From placement {before} to {after}"
    yield from _section("Contexts that move", _moves(topology, before, after))
    yield from _section("Processes", _counted(old, new))
    yield from _section("Addresses", _changed(_addresses(old), _addresses(new)))
    yield from _section("Databases", _changed(_databases(old), _databases(new)))
    yield from _section("Calls", _calls(topology, before, after))


def _section(title: str, found: Iterator[str]) -> Iterator[str]:
    rows = list(found)
    yield f"{title}: {'' if rows else 'no change'}".rstrip()
    yield from (f"  {row}" for row in rows)


def _moves(topology: Topology, before: str, after: str) -> Iterator[str]:
    for context in topology.contexts:
        old, new = topology.where(before, context), topology.where(after, context)
        if old.name != new.name:
            yield f"{context}: {old.name} -> {new.name}"
        elif old.database != new.database:
            yield f"{context}: from the database {_database(old)} to {_database(new)}"


def _counted(old: list[Deployment], new: list[Deployment]) -> Iterator[str]:
    for kind in ("web", "worker", "relay"):
        counts = [sum(_replicas(d, kind) for d in side) for side in (old, new)]
        if counts[0] != counts[1]:
            yield f"{kind}: {counts[0]} -> {counts[1]}"


def _replicas(deployment: Deployment, kind: str) -> int:
    if kind not in deployment.kinds:
        return 0
    return deployment.processes.of(kind).replicas if deployment.processes else 1


def _addresses(deployments: list[Deployment]) -> dict[str, str]:
    return {d.name: f"{', '.join(d.http)}  grpc {', '.join(d.grpc)}" for d in deployments}


def _databases(deployments: list[Deployment]) -> dict[str, str]:
    return {_database(d): "" for d in deployments}


def _database(deployment: Deployment) -> str:
    suffix = f"-{deployment.database}" if deployment.database else ""
    return f"<name in DATABASE_URL>{suffix}"


def _changed(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            yield f"- {name:<14} {old[name]}".rstrip()
        elif name not in old:
            yield f"+ {name:<14} {new[name]}".rstrip()
        elif old[name] != new[name]:
            yield f"  {name:<14} {old[name]} -> {new[name]}"


def _calls(topology: Topology, before: str, after: str) -> Iterator[str]:
    for context in topology.contexts.values():
        for callee in context.calls:
            was, becomes = (
                callee in topology.where(placement, context.name).contexts
                for placement in (before, after)
            )
            if was != becomes:
                what = "local" if becomes else f"remote: {policy(topology, callee)}"
                yield f"{context.name} -> {callee} becomes {what}"
