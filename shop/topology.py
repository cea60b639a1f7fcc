"""Contexts, placements and call policies, read from topology.toml and checked."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Limit = tuple[type, float, float]

POLICY_LIMITS: dict[str, Limit] = {
    "timeout": (float, 0.001, 600),
    "retries": (int, 0, 10),
    "retry_budget": (float, 0, 1),
    "concurrency": (int, 1, 10_000),
    "breaker_failures": (int, 1, 10_000),
    "breaker_seconds": (float, 0, 600),
}
FAULT_LIMITS: dict[str, Limit] = {
    "delay": (float, 0, 600),
    "delay_percent": (float, 0, 100),
    "abort_percent": (float, 0, 100),
}
ABORTS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL")

LONGEST_CACHED = 86_400  # seconds


class TopologyError(Exception):
    """topology.toml asks for something that cannot work. The text names the entry."""


@dataclass(frozen=True)
class Context:
    """A Django app under apps/: its proto package, whom it may call, what it lets staff do."""

    name: str
    package: str | None
    calls: tuple[str, ...]
    permissions: tuple[str, ...]
    routes: tuple[str, ...]  # of its public API, such as "/api/orders"


@dataclass(frozen=True)
class Deployment:
    """Contexts that run together, on one database."""

    name: str
    contexts: tuple[str, ...]
    http: str  # host:port of its public and its internal REST API
    grpc: str  # host:port of its gRPC server
    queues: tuple[str, ...]  # of its workers: one for each context that has a contract


@dataclass(frozen=True)
class Policy:
    """How calls to a context are made; topology.toml says what each means."""

    timeout: float
    retries: int
    retry_budget: float
    concurrency: int
    breaker_failures: int
    breaker_seconds: float


@dataclass(frozen=True)
class Fault:
    """What goes wrong on purpose with calls to a context; topology.toml says what each means."""

    delay: float = 0.0
    delay_percent: float = 0.0
    abort: str = "UNAVAILABLE"
    abort_percent: float = 0.0


@dataclass(frozen=True)
class Cached:
    """A method whose answers are kept by the deployments that call it from outside."""

    method: str  # such as "user.UserService/GetUser"
    owner: str  # the context whose method it is
    seconds: float
    key: str  # a field of the request and of each event: whom it is about
    ended_by: tuple[str, ...]  # types of events, such as "user.UserUpdated"


@dataclass(frozen=True)
class Topology:
    """All of topology.toml."""

    contexts: dict[str, Context]
    placements: dict[str, dict[str, Deployment]]
    policies: dict[str, Policy]  # by the context that is called
    timeout: float  # seconds that a call has where nothing says otherwise
    faults: dict[str, Fault]  # by the context that is called
    cached: tuple[Cached, ...]

    @property
    def permissions(self) -> tuple[str, ...]:
        """Every permission that a token may carry, such as "orders:ship"."""
        return tuple(sorted(p for c in self.contexts.values() for p in c.permissions))

    def context_of(self, package: str) -> Context:
        """The context that owns a proto package, such as orders for "order"."""
        for context in self.contexts.values():
            if context.package == package:
                return context
        raise TopologyError(f"no context in topology.toml has package = {package!r}")

    def where(self, placement: str, context: str) -> Deployment:
        """The deployment that runs a context in a placement."""
        for deployment in _pick(self.placements, placement, "placement").values():
            if context in deployment.contexts:
                return deployment
        raise TopologyError(f"no context {context!r}")

    def deployment(self, placement: str, name: str | None) -> Deployment:
        """One deployment of a placement. The name may be left out where there is only one."""
        deployments = _pick(self.placements, placement, "placement")
        if name is None and len(deployments) == 1:
            return next(iter(deployments.values()))
        return _pick(deployments, name or "", f"deployment of placement {placement!r}")


def path() -> Path:
    """The file that holds: topology.toml, or the one that SHOP_TOPOLOGY names."""
    return Path(os.environ.get("SHOP_TOPOLOGY") or Path(__file__).parent.parent / "topology.toml")


def load(path: Path) -> Topology:
    """Read and check a topology file. Raises TopologyError with the entry that is wrong."""
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise TopologyError(f"{path}: {error}") from None
    contexts = {name: _context(name, entry) for name, entry in raw["contexts"].items()}
    placements = {
        placement: {name: _deployment(name, entry, contexts) for name, entry in deployments.items()}
        for placement, deployments in raw["placements"].items()
    }
    policies = {name: _policy(raw["calls"], name) for name in contexts}
    faults = {name: _fault(name, entry, contexts) for name, entry in raw.get("faults", {}).items()}
    cached = tuple(
        _cached(method, entry, contexts.values()) for method, entry in raw.get("cached", {}).items()
    )
    timeout = float(raw["calls"]["timeout"])
    topology = Topology(contexts, placements, policies, timeout, faults, cached)
    _check_calls(topology)
    _check_routes(topology)
    for placement, deployments in placements.items():
        _check_placement(topology, placement, deployments.values())
    return topology


def _context(name: str, entry: dict[str, Any]) -> Context:
    _refuse_unknown(f"contexts.{name}", entry, {"package", "calls", "permissions", "routes"})
    return Context(
        name=name,
        package=entry.get("package"),
        calls=tuple(entry.get("calls", ())),
        permissions=tuple(entry.get("permissions", ())),
        routes=tuple(entry.get("routes", ())),
    )


def _policy(calls: dict[str, Any], context: str) -> Policy:
    known = {field.name for field in fields(Policy)}
    default = {name: value for name, value in calls.items() if not isinstance(value, dict)}
    own = calls.get(context, {})
    for where, entry in (("calls", default), (f"calls.{context}", own)):
        _refuse_unknown(where, entry, known)
    missing = sorted(known - default.keys())
    if missing:
        raise TopologyError(f"calls: {missing[0]!r} is missing")
    _check_numbers(f"calls.{context}" if own else "calls", {**default, **own}, POLICY_LIMITS)
    return Policy(**{**default, **own})


def _fault(name: str, entry: dict[str, Any], contexts: dict[str, Context]) -> Fault:
    where = f"faults.{name}"
    if name not in contexts:
        raise TopologyError(f"{where}: no context {name!r}")
    _refuse_unknown(where, entry, {field.name for field in fields(Fault)})
    abort = entry.get("abort", Fault.abort)
    if abort not in ABORTS:
        raise TopologyError(f"{where}.abort: {abort!r}; there is: {', '.join(ABORTS)}")
    _check_numbers(where, {k: v for k, v in entry.items() if k != "abort"}, FAULT_LIMITS)
    return Fault(**entry)


def _check_numbers(where: str, entry: dict[str, Any], limits: dict[str, Limit]) -> None:
    for name, value in entry.items():
        kind, least, most = limits[name]
        wanted = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, wanted) or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise TopologyError(f"{where}.{name}: {value!r} is not {what} from {least} to {most}")


def _cached(method: str, entry: dict[str, Any], contexts: Iterable[Context]) -> Cached:
    where = f'cached."{method}"'
    known = {"seconds", "key", "ended_by"}
    _refuse_unknown(where, entry, known)
    missing = sorted(known - entry.keys())
    if missing:
        raise TopologyError(f"{where}: {missing[0]!r} is missing")
    package = method.partition(".")[0]
    owner = next((context.name for context in contexts if context.package == package), None)
    if owner is None or not re.fullmatch(r"\w+\.\w+/\w+", method):
        raise TopologyError(f"{where}: no context has this method")
    seconds, events = entry["seconds"], entry["ended_by"]
    _check_numbers(where, {"seconds": seconds}, {"seconds": (float, 0.001, LONGEST_CACHED)})
    if not events or not isinstance(events, list):
        raise TopologyError(f"{where}.ended_by: no event would end it")
    types = tuple(f"{package}.{event}" for event in events)
    return Cached(method, owner, seconds, entry["key"], types)


def _deployment(name: str, entry: dict[str, Any], contexts: dict[str, Context]) -> Deployment:
    _refuse_unknown(f"deployment {name!r}", entry, {"contexts", "http", "grpc"})
    for context in entry["contexts"]:
        if context not in contexts:
            raise TopologyError(f"deployment {name!r}: no context {context!r}")
    return Deployment(
        name=name,
        contexts=tuple(entry["contexts"]),
        http=os.environ.get(f"HTTP_{name.upper()}", entry["http"]),
        grpc=os.environ.get(f"GRPC_{name.upper()}", entry["grpc"]),
        queues=tuple(context for context in entry["contexts"] if contexts[context].package),
    )


def _refuse_unknown(where: str, entry: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise TopologyError(f"{where}: unknown key {unknown[0]!r}")


def _check_calls(topology: Topology) -> None:
    for context in topology.contexts.values():
        for callee in context.calls:
            if topology.contexts.get(callee) is None:
                raise TopologyError(f"contexts.{context.name}.calls: no context {callee!r}")
            least, most = topology.policies[callee].timeout, topology.policies[context.name].timeout
            if context.package and least > most:
                raise TopologyError(
                    f"calls.{callee}.timeout: {least} s is longer than the {most} s that a call to "
                    f"{context.name} has, which calls it"
                )
    try:
        TopologicalSorter({c.name: c.calls for c in topology.contexts.values()}).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise TopologyError(f"contexts call each other in a circle: {circle}") from None


def _check_routes(topology: Topology) -> None:
    routes = [(route, c.name) for c in topology.contexts.values() for route in c.routes]
    for route, name in routes:
        if not re.fullmatch(r"(/[\w.-]+)+", route) or f"{route}/".startswith("/internal/"):
            raise TopologyError(f"contexts.{name}.routes: {route!r} is no public path")
        if [other for other, _ in routes].count(route) > 1:
            raise TopologyError(f"contexts.{name}.routes: {route!r} is another context's too")


def _check_placement(topology: Topology, placement: str, deployments: Iterable[Deployment]) -> None:
    placed = [name for deployment in deployments for name in deployment.contexts]
    for name in topology.contexts:
        if placed.count(name) != 1:
            raise TopologyError(
                f"placements.{placement}: context {name!r} is placed {placed.count(name)} times"
            )


def _pick(choices: dict[str, T], name: str, what: str) -> T:
    if name not in choices:
        raise TopologyError(f"unknown {what} {name!r}; there is: {', '.join(sorted(choices))}")
    return choices[name]
