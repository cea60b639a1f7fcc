"""Checks of entries of topology.toml that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from severable.topology.admin_paths import RESERVED
from severable.topology.model import Context, Topology
from severable.topology.problem import Place, Problem


def structure(topology: Topology) -> Iterator[Problem]:
    """Yield the problems that prevent a start."""
    yield from _names(topology)
    yield from _calls(topology)
    yield from _routes(topology)
    for placement in topology.placements:
        yield from _placement(topology, placement)


def _names(topology: Topology) -> Iterator[Problem]:
    for name in sorted(topology.contexts.keys() & set(RESERVED)):
        yield Problem(("contexts", name), f"/admin/{name}/ is a path of the admin itself")
    known = ", ".join(sorted(topology.contexts))
    named: list[tuple[Place, str]] = [(("faults", name), name) for name in topology.faults]
    named += [(("calls", name), name) for name in topology.overrides]
    for context in topology.contexts.values():
        named += [(("contexts", context.name, "calls"), callee) for callee in context.calls]
    for placement, deployments in topology.placements.items():
        for deployment in deployments.values():
            listed = ("placements", placement, deployment.name, "contexts")
            named += [(listed, name) for name in deployment.contexts]
    for place, name in named:
        if name not in topology.contexts:
            yield Problem(place, f"no context {name!r}; there is: {known}")
    for cached in topology.cached:
        if not cached.owner:
            yield Problem(("cached", cached.method), "no context has this method")


def _calls(topology: Topology) -> Iterator[Problem]:
    known = {
        c.name: [callee for callee in c.calls if callee in topology.contexts]
        for c in topology.contexts.values()
    }
    try:
        TopologicalSorter(known).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        yield Problem(
            ("contexts", circle[0], "calls"),
            f"contexts call each other in a circle: {' -> '.join(circle)}",
        )
        return
    for path in paths(topology):
        for parent, child in pairwise(path):
            yield from _timeouts(topology, path, parent, child)


def paths(topology: Topology) -> Iterator[tuple[str, ...]]:
    """Yield each way that calls can take, such as ("gateway", "orders", "payments", "users")."""

    def onward(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        callees = [c for c in topology.contexts[path[-1]].calls if c in topology.contexts]
        if not callees and len(path) > 1:
            yield path
        for callee in callees:
            yield from onward((*path, callee))

    called = {callee for context in topology.contexts.values() for callee in context.calls}
    for name in topology.contexts:
        if name not in called:
            yield from onward((name,))


def _timeouts(
    topology: Topology, path: tuple[str, ...], parent: str, child: str
) -> Iterator[Problem]:
    if not topology.contexts[parent].package:
        return  # it is not called, so it needs no limit
    mine, theirs = topology.policies[parent].timeout, topology.policies[child].timeout
    if theirs > mine:
        yield Problem(
            ("calls", child, "timeout"),
            f"{theirs:g} s is longer than the {mine:g} s that a call to {parent} has, which calls "
            f"it: {' -> '.join(path)}",
        )


def _routes(topology: Topology) -> Iterator[Problem]:
    contexts = topology.contexts.values()
    routes = [(route, context) for context in contexts for route in context.routes]
    for route, context in routes:
        place = ("contexts", context.name, "routes")
        if f"{route}/".startswith("/internal/"):
            yield Problem(place, f"{route!r} is no public path")
        if [other for other, _ in routes].count(route) > 1:
            yield Problem(place, f"{route!r} is another context's too")
    for context in contexts:
        yield from _guarded(topology, context)
        for pattern in context.composed:
            if not any(pattern.startswith(f"{route}/") for route, _ in routes):
                place = ("contexts", context.name, "composed")
                yield Problem(place, f"{pattern!r} is under no context's routes")


def _guarded(topology: Topology, context: Context) -> Iterator[Problem]:
    for route, permission in context.guarded.items():
        place = ("contexts", context.name, "guarded", route)
        if not any(f"{route}/".startswith(f"{own}/") for own in context.routes):
            yield Problem(place, f"is under none of its routes: {', '.join(context.routes)}")
        if permission not in topology.permissions:
            there = ", ".join(topology.permissions)
            yield Problem(place, f"no permission {permission!r}; there is: {there}")


def _placement(topology: Topology, placement: str) -> Iterator[Problem]:
    deployments = topology.placements[placement].values()
    for name in topology.contexts:
        by = [d.name for d in deployments for context in d.contexts if context == name]
        if len(by) != 1:
            who = f": {', '.join(by)}" if by else ""
            yield Problem(
                ("placements", placement), f"context {name!r} is placed {len(by)} times{who}"
            )
    yield from _twice(placement, [(d.name, "http", a) for d in deployments for a in d.http])
    yield from _twice(placement, [(d.name, "grpc", a) for d in deployments for a in d.grpc])
    yield from _twice(placement, [(d.name, "database", d.database) for d in deployments])


def _twice(placement: str, found: list[tuple[str, str, str]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for deployment, kind, value in found:
        if value in first:
            place = ("placements", placement, deployment, kind)
            yield Problem(place, f"{value!r} is that of deployment {first[value]!r} too")
        first.setdefault(value, deployment)
