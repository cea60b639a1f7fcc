"""Prometheus' targets in each placement: every web process, found by its service's name."""

from __future__ import annotations

from typing import Any

from severable.deploy.workloads import HTTP_PORT
from severable.deploy.yaml import dump
from severable.topology import Deployment, Topology

FOLDER = "deploy/observability/prometheus"
HOST = "{}-{}-web"  # of a placement's deployment
TOKEN = "/tmp/metrics-token"  # noqa: S105, S108  # a file that the container writes at its start


def render(topology: Topology) -> dict[str, str]:
    """Return the files by their paths."""
    return {
        path(placement): dump(_document(topology, placement)) for placement in topology.placements
    }


def path(placement: str) -> str:
    """Return the file of a placement."""
    return f"{FOLDER}/{placement}.yml"


def host(placement: str, deployment: Deployment) -> str:
    """Return the name that all web processes of a deployment answer to."""
    return HOST.format(placement, deployment.name)


def _document(topology: Topology, placement: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "15s", "scrape_timeout": "10s"},
        "scrape_configs": [
            _job(deployment.name, host(placement, deployment))
            for deployment in topology.deployments(placement)
        ],
    }


def _job(deployment: str, name: str) -> dict[str, Any]:
    return {
        "job_name": deployment,
        "metrics_path": "/metrics",
        "authorization": {"credentials_file": TOKEN},
        "dns_sd_configs": [{"names": [name], "type": "A", "port": HTTP_PORT}],
        "relabel_configs": [{"target_label": "deployment", "replacement": deployment}],
    }
