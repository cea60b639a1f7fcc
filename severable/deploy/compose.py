"""docker-compose.yml: every placement is a profile; servers, collector and dashboards are shared.

The parts that do not depend on topology.toml are in compose.yaml, beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from severable.config import commands
from severable.deploy import prometheus
from severable.deploy.workloads import (
    HTTP_PORT,
    READY,
    SECRETS,
    Site,
    Workload,
    environment,
    secrets,
    settings,
    site,
    workloads,
)
from severable.deploy.yaml import MERGE, Anchor, dump
from severable.topology import ENTRY, Deploy, Edge, Topology, TopologyError

Service = dict[str, Any]

GIVEN = Path(__file__).with_suffix(".yaml")
PATH = "docker-compose.yml"
USER = "10001"  # of the image
WRITTEN = ["/tmp", "/var/lib/shop"]  # noqa: S108  # what processes write to, kept in memory
TOPOLOGY = "/etc/shop/topology.toml"  # in the containers
PREPARE = "prepare"  # the kind of the job that ends before its deployment's processes start
MAKE_ENV = "python -m severable.keys --env > .env"
INTRODUCTION = """\
# `docker compose up` runs the placement that COMPOSE_PROFILES names; docs/deploy.md says how.
#
# x-process is shared by all processes of the shop, x-web and so on by those of one kind.
# x-environment has the variables of all processes, x-placement-* the addresses of the deployments,
# and those after it the variables of one deployment.
"""
BLOCK = re.compile(r"^(?=\S|  \S+:\n    <<)", re.MULTILINE)  # the start of a service
PROBE = (
    "from urllib.request import urlopen; "  # it raises if the answer is 503
    f"urlopen('http://127.0.0.1:{HTTP_PORT}{READY}', timeout=4)"
)
HEALTH = {"interval": "10s", "timeout": "5s", "retries": 3, "start_period": "60s"}


def render(topology: Topology) -> dict[str, str]:
    """Return docker-compose.yml and the configuration of Prometheus per placement, by path."""
    text = re.sub(BLOCK, "\n", dump(_document(topology)))
    return {PATH: INTRODUCTION + text, **prometheus.render(topology)}


def required(name: str) -> str:
    """Return a reference to a required variable, with the command that makes it for the error."""
    return f"${{{name}:?run {MAKE_ENV} first}}"


def _document(topology: Topology) -> dict[str, Any]:
    if topology.edge is None or topology.deploy is None:
        raise TopologyError("topology.toml: [edge] or [deploy] is missing")
    given = _given(topology.deploy)
    server = Anchor("server", given["x-server"])
    edge = Anchor("edge", {MERGE: server, **given["x-edge"]})
    watch = Anchor("prometheus", {MERGE: server, **given["x-prometheus"]})
    services = {name: {MERGE: server, **own} for name, own in given["services"].items()}
    for placement in topology.placements:
        services[f"{placement}-edge"] = {MERGE: edge, **_edge(topology, placement)}
        services[f"{placement}-prometheus"] = {MERGE: watch, **_prometheus(placement)}
    services |= _factored(list(_processes(topology, topology.deploy, topology.edge, server)))
    anchors = {f"x-{anchor.name}": anchor for anchor in _used(services)}
    return anchors | {"services": services} | {k: given[k] for k in ("networks", "volumes")}


def _given(deploy: Deploy) -> dict[str, Any]:
    text = re.sub(r"(?<!\$)\{([A-Z_]+)\}", lambda name: required(name[1]), GIVEN.read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    limit = f"max_connections={deploy.database_connections}"
    found["services"]["postgres"]["command"] = ["postgres", "-c", limit]
    return found


def _edge(topology: Topology, placement: str) -> Service:
    entry = prometheus.host(placement, topology.where(placement, ENTRY))
    return {
        "profiles": [placement],
        "depends_on": {entry: {"condition": "service_healthy"}},
        "volumes": [f"./deploy/nginx/{placement}.conf:/etc/nginx/nginx.conf:ro"],
    }


def _prometheus(placement: str) -> Service:
    config = prometheus.path(placement)
    return {
        "profiles": [placement],
        "volumes": ["prometheus:/prometheus", f"./{config}:/etc/prometheus/prometheus.yml:ro"],
    }


def _processes(
    topology: Topology, deploy: Deploy, edge: Edge, server: Anchor
) -> Iterator[tuple[str, str, Service]]:
    """Yield the name, the kind and the service of each process of each placement."""
    common = Anchor("environment", _common(edge))
    for placement in topology.placements:
        environments = _environments(topology, placement, common)
        for workload in workloads(topology, placement, _site(topology, placement)):
            deployment = workload.deployment.name
            job = f"{placement}-{deployment}-{PREPARE}"
            service = {
                MERGE: server,
                "image": deploy.image,
                # Compose restarts processes if a label has changed, but not if a mounted file has.
                "labels": {"topology": sha256(repr(topology).encode()).hexdigest()[:12]},
                "profiles": [placement],
                **_process(workload, environments[deployment]),
            }
            if workload.kind == "web":
                yield job, PREPARE, service | _preparing(service)
            service["depends_on"] = {job: {"condition": "service_completed_successfully"}}
            yield f"{placement}-{workload.name}", workload.kind, service


def _process(workload: Workload, environment: Anchor) -> Service:
    web, process = workload.kind == "web", workload.process
    limits = {"cpus": f"{process.cpu_limit:g}", "memory": f"{process.memory}M"}
    probe = ["python", "-c", PROBE] if web else list(workload.probe)
    return {
        "init": True,
        "user": USER,
        "tmpfs": WRITTEN,
        "volumes": [f"./topology.toml:{TOPOLOGY}:ro"],
        "command": list(workload.command),
        "environment": {
            MERGE: environment,
            **_beyond(workload.environment, _flat(environment)),
        },
        "healthcheck": {"test": ["CMD", *probe], **HEALTH},
        "deploy": {"replicas": process.replicas, "resources": {"limits": limits}},
        "stop_grace_period": f"{workload.grace}s",
        "networks": ["edge", "shop", "servers"] if web else ["shop", "servers"],
    }


def _preparing(web: Service) -> Service:
    """Return how the job that prepares a deployment differs from its web process."""
    environment = {k: v for k, v in web["environment"].items() if k in (MERGE, "DATABASE_POOL")}
    return {
        "command": ["python", *commands.prepare()],
        "environment": environment,
        "restart": "no",
        "healthcheck": {"disable": True},  # the image has one
        "deploy": {"resources": web["deploy"]["resources"]},
        "networks": ["shop", "servers"],
        "depends_on": {
            name: {"condition": "service_healthy"} for name in ("postgres", "rabbitmq", "redis")
        },
    }


def _environments(topology: Topology, placement: str, common: Anchor) -> dict[str, Anchor]:
    """Return the environment of each deployment: the common variables and its own."""
    addresses, deployments = _site(topology, placement), topology.deployments(placement)
    found = {d.name: environment(topology, placement, d, addresses) for d in deployments}
    shared = Anchor(f"placement-{placement}", _shared(found.values()))
    for deployment in deployments:
        names = (*settings(topology, deployment), *secrets(topology, deployment))
        found[deployment.name] |= {name: common.get(name, required(name)) for name in names}
    return {
        name: Anchor(
            f"{placement}-{name}",
            {MERGE: [common, shared], **_beyond(_beyond(own, common), shared)},
        )
        for name, own in found.items()
    }


def _site(topology: Topology, placement: str) -> Site:
    name = prometheus.HOST.format(placement, "{}")
    return site(topology, placement, name, name)


def _common(edge: Edge) -> dict[str, str]:
    """Return the variables of all processes. The operator may set those with `${...}`."""
    return {
        "SHOP_TOPOLOGY": TOPOLOGY,
        "SHOP_ENV": "${SHOP_ENV:-production}",
        "ALLOWED_HOSTS": f"${{ALLOWED_HOSTS:-localhost,127.0.0.1,{edge.host}}}",
        "CSRF_TRUSTED_ORIGINS": f"${{CSRF_TRUSTED_ORIGINS:-https://{edge.host}}}",
        "TRUSTED_PROXIES": "1",  # the edge
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector:4318",
        "LOG_LEVEL": "${LOG_LEVEL:-INFO}",
        **{name: required(name) for name in SECRETS},
        "DATABASE_URL": f"postgres://shop:{required('POSTGRES_PASSWORD')}@postgres:5432/shop",
        "BROKER_URL": f"amqp://shop:{required('RABBITMQ_PASSWORD')}@rabbitmq:5672//",
        "CACHE_URL": f"redis://:{required('REDIS_PASSWORD')}@redis:6379/0",
    }


def _factored(processes: list[tuple[str, str, Service]]) -> dict[str, Service]:
    """Return the services, with the parts that those of one kind share in anchors."""
    kinds: dict[str, list[Service]] = {}
    for _, kind, service in processes:
        kinds.setdefault(kind, []).append(service)
    shared = {kind: _shared(services) for kind, services in kinds.items()}
    process = Anchor("process", _shared(shared.values()))
    anchors = {k: Anchor(k, {MERGE: process, **_beyond(own, process)}) for k, own in shared.items()}
    return {
        name: {MERGE: anchors[kind], **_beyond(service, shared[kind])}
        for name, kind, service in processes
    }


def _shared(several: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = several
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}


def _beyond(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in own.items() if k not in shared or shared[k] != v}


def _flat(anchor: Anchor) -> dict[str, Any]:
    """Return an anchor's content with that of the anchors that it merges."""
    parts = [_flat(part) for part in anchor.get(MERGE, [])]
    return {k: v for each in (*parts, anchor) for k, v in each.items() if k != MERGE}


def _used(value: Any) -> Iterator[Anchor]:
    """Yield the anchors in a value, each after those that it merges."""
    if isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _used(each)
    if isinstance(value, Anchor):
        yield value
