"""The content of topology.toml, as types that validate their values."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

T = TypeVar("T")
ENTRY = "gateway"  # the context that the outside reaches
SIGNING_KEY = "JWT_PRIVATE_KEY"  # the secret that only the context with the accounts gets
MAX_CACHE_SECONDS = 86_400.0
METHOD = r"^\w+\.\w+/\w+$"  # such as "user.UserService/GetUser"

Count = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Retries = Annotated[int, Field(strict=True, ge=0, le=10)]
Timeout = Annotated[float, Field(strict=True, ge=0.001, le=600)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=600)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100)]
Route = Annotated[str, StringConstraints(pattern=r"^(/[\w.-]+)+$")]
Pattern = Annotated[str, StringConstraints(pattern=r"^(/([\w.-]+|\*))+$")]  # "*": one part
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
# It becomes part of the names of hosts, Kubernetes objects and environment variables.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*$", max_length=30)]
CHECKED = ConfigDict(extra="forbid")


class TopologyError(Exception):
    """An error in topology.toml. The text names the line and the key."""


@dataclass(frozen=True, config=CHECKED)
class Context:
    """A Django app under apps/."""

    name: str
    package: str | None = None  # of its contract
    calls: tuple[str, ...] = ()  # the contexts that it may call
    permissions: tuple[str, ...] = ()  # that staff may have here
    routes: tuple[Route, ...] = ()  # of its public API, such as "/api/orders"
    composed: tuple[Pattern, ...] = ()  # paths among others' routes that it answers itself
    guarded: dict[Route, str] = Field(default_factory=dict)  # permissions that the edge asks for
    secrets: tuple[Variable, ...] = ()  # environment variables that only its deployment gets,
    settings: tuple[Variable, ...] = ()  # and those of them that may be seen


@dataclass(frozen=True, config=CHECKED)
class MethodPolicy:
    """The timeout and retries of one method, instead of those of its context's policy."""

    timeout: Timeout | None = None
    retries: Retries | None = None


@dataclass(frozen=True, config=CHECKED)
class Policy:
    """The policy of calls to a context; topology.toml says what each value means."""

    timeout: Timeout
    retries: Retries
    retry_budget: Annotated[float, Field(strict=True, ge=0, le=1)]
    concurrency: Count
    breaker_failures: Count
    breaker_seconds: Seconds
    methods: dict[str, MethodPolicy] = Field(default_factory=dict)  # "/user.UserService/GetUser"

    def timeout_of(self, method: str) -> float:
        """Return the seconds that a call of a method has if its caller names none."""
        own = self.methods.get(method)
        return self.timeout if own is None or own.timeout is None else own.timeout

    def retries_of(self, method: str) -> int:
        """Return how often a call of a method is made again, if its contract allows it."""
        own = self.methods.get(method)
        return self.retries if own is None or own.retries is None else own.retries

    def without_retries(self) -> Policy:
        """Return this policy for an environment that retries calls itself, such as a mesh."""
        methods = {name: replace(own, retries=None) for name, own in self.methods.items()}
        return replace(self, retries=0, methods=methods)


@dataclass(frozen=True, config=CHECKED)
class Fault:
    """Injected faults in calls to a context; topology.toml says what each value means."""

    delay: Seconds = 0.0
    delay_percent: Percent = 0.0
    abort: Literal[
        "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"
    ] = "UNAVAILABLE"
    abort_percent: Percent = 0.0


@dataclass(frozen=True, config=CHECKED)
class Cached:
    """A method whose answers are kept by the deployments that call it from outside."""

    method: Annotated[str, StringConstraints(pattern=METHOD)]
    owner: str  # the context whose method it is
    seconds: Annotated[float, Field(strict=True, ge=0.001, le=MAX_CACHE_SECONDS)]
    key: str  # a field of the request and of each event: the id of their subject
    invalidated_by: Annotated[tuple[str, ...], Field(min_length=1)]  # such as "user.UserUpdated"


@dataclass(frozen=True, config=CHECKED)
class Process:
    """The number of a deployment's processes of one kind, and the resources of each."""

    replicas: Count
    max_replicas: Count  # that autoscaling may make of them
    cpu: Annotated[float, Field(strict=True, gt=0, le=64)]  # cores that are reserved
    cpu_limit: Annotated[float, Field(strict=True, gt=0, le=64)]
    memory: Annotated[int, Field(strict=True, ge=64, le=262_144)]  # MiB, at most
    connections: Count  # to the database, at most


@dataclass(frozen=True, config=CHECKED)
class Processes:
    """The processes of a deployment, by kind."""

    web: Process
    worker: Process
    relay: Process

    def of(self, kind: str) -> Process:
        """Return those of a kind: "web", "worker" or "relay"."""
        found: Process = getattr(self, kind)
        return found


@dataclass(frozen=True, config=CHECKED)
class Edge:
    """The proxy between clients and the shop."""

    host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
    timeout: Timeout  # for a whole answer
    retries: Retries  # of idempotent requests
    body_limit: Annotated[int, Field(strict=True, ge=1024, le=1 << 30)]  # bytes
    body_timeout: Timeout  # between two parts of a request's body or head
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()  # in front of the edge, such as balancers


@dataclass(frozen=True, config=CHECKED)
class Deploy:
    """Settings that all deployments share when they are not started from a checkout."""

    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][\w./:-]*:[\w][\w.-]{0,127}$")]
    namespace: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")]
    database_connections: Count  # that the PostgreSQL server allows
    drain: Seconds  # that a web process goes on serving after SIGTERM
    grace: Timeout  # from SIGTERM to SIGKILL


@dataclass(frozen=True, config=CHECKED)
class Deployment:
    """Contexts that run together, on one database, in one or several web processes."""

    name: Name
    contexts: tuple[str, ...]
    http: tuple[str, ...]  # host:port of its public and its internal REST API, one or several
    grpc: tuple[str, ...]  # host:port of its gRPC servers
    database: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]*$")]  # suffix of its name
    queues: tuple[str, ...] = ()  # of its workers: one for each context that has a contract
    processes: Processes | None = None

    @property
    def inside(self) -> bool:
        """Return whether only other deployments reach its HTTP, over TLS if it has certificates.

        The gateway is behind a proxy that terminates the clients' TLS.
        """
        return ENTRY not in self.contexts

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of its processes."""
        return ("web", "worker", "relay") if self.queues else ("web",)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the HTTP and the gRPC address of each web process.

        Raises TopologyError if one of them would lack the other.
        """
        if len(self.http) != len(self.grpc):
            raise TopologyError(
                f"deployment {self.name!r}: {len(self.http)} addresses in http and "
                f"{len(self.grpc)} in grpc; each web process needs one of both"
            )
        return list(zip(self.http, self.grpc, strict=True))


@dataclass(frozen=True, config=CHECKED)
class Topology:
    """All of topology.toml."""

    contexts: dict[str, Context]
    placements: dict[str, dict[str, Deployment]]
    policies: dict[str, Policy]  # by the context that is called
    overrides: tuple[str, ...]  # the contexts that have a policy of their own
    timeout: float  # the default timeout of calls in seconds
    faults: dict[str, Fault]  # by the context that is called
    cached: tuple[Cached, ...]
    edge: Edge | None = None
    deploy: Deploy | None = None

    @property
    def permissions(self) -> tuple[str, ...]:
        """Every permission that a token may carry, such as "orders:ship"."""
        return tuple(sorted(p for c in self.contexts.values() for p in c.permissions))

    @property
    def accounts(self) -> Context | None:
        """The context with the user accounts, whose deployment signs tokens; None if there is
        none."""
        return next((c for c in self.contexts.values() if SIGNING_KEY in c.secrets), None)

    def owner_of(self, package: str) -> Context | None:
        """Return the context whose contract a proto package is, or None."""
        return next((c for c in self.contexts.values() if c.package == package), None)

    def context_of(self, package: str) -> Context:
        """Return the context that owns a proto package, such as orders for "order"."""
        found = self.owner_of(package)
        if found is None:
            raise TopologyError(f"no context in topology.toml has package = {package!r}")
        return found

    def in_mesh(self) -> Topology:
        """Return this topology for processes whose calls a service mesh retries."""
        policies = {name: policy.without_retries() for name, policy in self.policies.items()}
        return replace(self, policies=policies)

    def may_call(self, placement: str, caller: str, package: str) -> bool:
        """Return whether a deployment runs a context that may call a contract.

        A contract that belongs to no context is the feed of events. Every context serves it to all
        deployments that have workers: their handlers determine whose events they read.
        """
        deployment = self.placements[placement].get(caller)
        if deployment is None:
            return False
        owner = self.owner_of(package)
        if owner is None:
            return bool(deployment.queues)
        return any(owner.name in self.contexts[context].calls for context in deployment.contexts)

    def where(self, placement: str, context: str) -> Deployment:
        """Return the deployment that runs a context in a placement."""
        for deployment in self.deployments(placement):
            if context in deployment.contexts:
                return deployment
        raise TopologyError(f"no context {context!r}")

    def deployments(self, placement: str) -> list[Deployment]:
        """Return the deployments of a placement."""
        return list(_pick(self.placements, placement, "placement").values())

    def deployment(self, placement: str, name: str | None) -> Deployment:
        """Return one deployment of a placement. The name may be left out if there is only one."""
        deployments = _pick(self.placements, placement, "placement")
        if name is None and len(deployments) == 1:
            return next(iter(deployments.values()))
        return _pick(deployments, name or "", f"deployment of placement {placement!r}")


def _pick(choices: dict[str, T], name: str, what: str) -> T:
    if name not in choices:
        raise TopologyError(f"unknown {what} {name!r}; there is: {', '.join(sorted(choices))}")
    return choices[name]
