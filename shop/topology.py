"""Contexts and placements, read from topology.toml and checked; policies.py reads the rest."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from shop.policies import (
    Cached,
    Fault,
    Policy,
    TopologyError,
    cached,
    fault,
    policy,
    refuse_unknown,
)

T = TypeVar("T")
ENTRY = "gateway"  # the context that the outside reaches
ADDRESS = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


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
    """Contexts that run together, on one database, in one or several web processes."""

    name: str
    contexts: tuple[str, ...]
    http: tuple[str, ...]  # host:port of its public and its internal REST API, one or several
    grpc: tuple[str, ...]  # host:port of its gRPC servers
    queues: tuple[str, ...]  # of its workers: one for each context that has a contract

    @property
    def inside(self) -> bool:
        """Whether only other deployments reach its HTTP, and it speaks TLS where they do. In front
        of the gateway is whatever ends the TLS of the outside."""
        return ENTRY not in self.contexts

    def pairs(self) -> list[tuple[str, str]]:
        """The HTTP and the gRPC address of each web process. Raises TopologyError where one of
        them would lack the other."""
        if len(self.http) != len(self.grpc):
            raise TopologyError(
                f"deployment {self.name!r}: {len(self.http)} addresses in http and "
                f"{len(self.grpc)} in grpc; each web process needs one of both"
            )
        return list(zip(self.http, self.grpc, strict=True))


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

    def may_call(self, placement: str, caller: str, package: str) -> bool:
        """Return whether a deployment runs a context that may call a contract.

        A contract that belongs to no context is the feed of events. Every context serves it, to all
        deployments that have workers: which of them read whose events, their handlers say.
        """
        deployment = self.placements[placement].get(caller)
        if deployment is None:
            return False
        owner = next((c.name for c in self.contexts.values() if c.package == package), None)
        if owner is None:
            return bool(deployment.queues)
        return any(owner in self.contexts[context].calls for context in deployment.contexts)

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
    owners = {context.package: name for name, context in contexts.items() if context.package}
    topology = Topology(
        contexts=contexts,
        placements=placements,
        policies={name: policy(raw["calls"], name) for name in contexts},
        timeout=float(raw["calls"]["timeout"]),
        faults={
            name: fault(name, entry, contexts) for name, entry in raw.get("faults", {}).items()
        },
        cached=tuple(cached(name, entry, owners) for name, entry in raw.get("cached", {}).items()),
    )
    _check_calls(topology)
    _check_routes(topology)
    for placement, deployments in placements.items():
        _check_placement(topology, placement, deployments.values())
    return topology


def _context(name: str, entry: dict[str, Any]) -> Context:
    refuse_unknown(f"contexts.{name}", entry, {"package", "calls", "permissions", "routes"})
    return Context(
        name=name,
        package=entry.get("package"),
        calls=tuple(entry.get("calls", ())),
        permissions=tuple(entry.get("permissions", ())),
        routes=tuple(entry.get("routes", ())),
    )


def _deployment(name: str, entry: dict[str, Any], contexts: dict[str, Context]) -> Deployment:
    refuse_unknown(f"deployment {name!r}", entry, {"contexts", "http", "grpc"})
    for context in entry["contexts"]:
        if context not in contexts:
            raise TopologyError(f"deployment {name!r}: no context {context!r}")
    return Deployment(
        name=name,
        contexts=tuple(entry["contexts"]),
        http=_addresses(name, "http", entry["http"]),
        grpc=_one_family(name, _addresses(name, "grpc", entry["grpc"])),
        queues=tuple(context for context in entry["contexts"] if contexts[context].package),
    )


def _addresses(deployment: str, kind: str, entry: str | list[str]) -> tuple[str, ...]:
    variable = f"{kind.upper()}_{deployment.upper()}"
    where, given = f"deployment {deployment!r}: {kind}", entry
    if variable in os.environ:
        where, given = variable, os.environ[variable].split(",")
    addresses = tuple(str(a).strip() for a in (given if isinstance(given, list) else [given]))
    for address in addresses:
        if not ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 65536:
            raise TopologyError(f"{where}: {address!r} is no host:port")
        if addresses.count(address) > 1:
            raise TopologyError(f"{where}: {address!r} is there twice")
    if not addresses:
        raise TopologyError(f"{where}: no address")
    return addresses


def _one_family(deployment: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    # What gRPC's own resolver can take: one name, which may stand for several addresses, or
    # addresses of one family.
    try:
        hosts = [a.rpartition(":")[0].strip("[]") for a in addresses]
        one = len(hosts) == 1 or len({ip_address(host).version for host in hosts}) == 1
    except ValueError:
        one = False
    if not one:
        raise TopologyError(
            f"deployment {deployment!r}: several addresses in grpc must be all IPv4 or all IPv6; "
            f"one name may stand for several: {', '.join(addresses)}"
        )
    return addresses


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
