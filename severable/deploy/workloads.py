"""The processes of a placement as containers run them, whatever runs the containers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from severable.config import commands
from severable.topology import Deployment, Process, Topology, TopologyError

HTTP_PORT, GRPC_PORT = 8000, 50051  # of every container
LIVE, READY = "/health/live", "/health/ready"
HEARTBEAT = "/tmp/heartbeat"  # noqa: S108  # a file system of the container's own
HEARTBEAT_SECONDS = 30  # without a sign of life, after which a worker or relay is taken for frozen
STOP_SECONDS = 25  # that processes other than web have to end
# Every deployment gets these; the tables of contexts name further ones.
SECRETS = (
    *("SECRET_KEY", "SERVICE_KEY", "JWT_PUBLIC_KEYS", "METRICS_TOKEN"),
    *("DATABASE_URL", "BROKER_URL", "CACHE_URL"),
)
SETTINGS = (
    *("SHOP_ENV", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "TRUSTED_PROXIES"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "LOG_LEVEL"),
)


class Site(NamedTuple):
    """The addresses at which a placement's processes reach each other: host:port by deployment."""

    http: dict[str, str]
    grpc: dict[str, str]


@dataclass(frozen=True)
class Workload:
    """The processes of one kind of one deployment."""

    deployment: Deployment
    kind: str  # web, worker or relay
    command: tuple[str, ...]
    environment: dict[str, str]  # all that is neither secret nor the operator's choice
    settings: tuple[str, ...]  # variables that the operator sets and that may be seen
    secrets: tuple[str, ...]  # variables that the operator sets and that may not
    process: Process
    grace: int  # seconds from SIGTERM to SIGKILL

    @property
    def name(self) -> str:
        """Return a name that is unique in its placement, such as "orders-web"."""
        return f"{self.deployment.name}-{self.kind}"

    @property
    def probe(self) -> tuple[str, ...]:
        """Return the command that ends with 0 if a process without an address is alive."""
        return ("python", "-m", "severable.heartbeat", "--max-age", str(HEARTBEAT_SECONDS))


def workloads(topology: Topology, placement: str, site: Site) -> list[Workload]:
    """Return all processes of a placement. Raises TopologyError if it has no [deploy]."""
    return [
        _workload(topology, placement, deployment, kind, site)
        for deployment in topology.deployments(placement)
        for kind in deployment.kinds
    ]


def _workload(
    topology: Topology, placement: str, deployment: Deployment, kind: str, site: Site
) -> Workload:
    if topology.deploy is None or deployment.processes is None:
        raise TopologyError("topology.toml: [deploy] and [processes] are missing")
    process = deployment.processes.of(kind)
    own = environment(topology, placement, deployment, site)
    own["DATABASE_POOL"] = str(process.connections)
    if kind == "web":
        own["DRAIN_SECONDS"] = f"{topology.deploy.drain:g}"
    else:
        own["SHOP_HEARTBEAT"] = HEARTBEAT
    return Workload(
        deployment=deployment,
        kind=kind,
        command=("python", *_arguments(deployment, kind)),
        environment=own,
        settings=settings(topology, deployment),
        secrets=secrets(topology, deployment),
        process=process,
        grace=int(topology.deploy.grace) if kind == "web" else STOP_SECONDS,
    )


def _arguments(deployment: Deployment, kind: str) -> list[str]:
    match kind:
        case "web":
            return commands.web(f"0.0.0.0:{HTTP_PORT}")
        case "worker":
            return commands.worker(deployment)
    return commands.relay()


def environment(
    topology: Topology, placement: str, deployment: Deployment, site: Site
) -> dict[str, str]:
    """Return the variables of a deployment: its name, and the addresses of all deployments."""
    found = {
        "SHOP_PLACEMENT": placement,
        "SHOP_DEPLOYMENT": deployment.name,
        "GRPC_LISTEN": f"0.0.0.0:{GRPC_PORT}",
    }
    for other in topology.deployments(placement):
        found[f"HTTP_{other.name}".upper()] = site.http[other.name]
        found[f"GRPC_{other.name}".upper()] = site.grpc[other.name]
    return found


def settings(topology: Topology, deployment: Deployment) -> tuple[str, ...]:
    """Return the variables that the operator sets for a deployment and that may be seen."""
    own = (name for c in deployment.contexts for name in topology.contexts[c].settings)
    return (*SETTINGS, *dict.fromkeys(own))


def secrets(topology: Topology, deployment: Deployment) -> tuple[str, ...]:
    """Return the variables that the operator sets for a deployment and that may not be seen."""
    own = (name for c in deployment.contexts for name in topology.contexts[c].secrets)
    return (*SECRETS, *dict.fromkeys(own))


def site(topology: Topology, placement: str, http: str, grpc: str) -> Site:
    """Return a site whose hosts are named after deployments: "{}-web" or "{}.shop.svc"."""
    names = [deployment.name for deployment in topology.deployments(placement)]
    return Site(
        http={name: f"{http.format(name)}:{HTTP_PORT}" for name in names},
        grpc={name: f"{grpc.format(name)}:{GRPC_PORT}" for name in names},
    )
