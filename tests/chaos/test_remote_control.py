"""Celery's remote control reaches every worker, also several of one deployment on one machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from severable.config import commands
from severable.topology import Deployment
from tests.chaos.running import ON_SERVERS, Shop
from tests.processes import ROOT

pytestmark = [ON_SERVERS, pytest.mark.xdist_group("running"), pytest.mark.timeout(180)]
PONG = re.compile(r"^->\s+([\w-]+)@\S+: OK$", re.MULTILINE)


def workers(shop: Shop, deployment: str) -> list[str]:
    """Return the names, without the process id, of the workers that a deployment can ping."""
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "shop", "inspect", "ping", "--timeout", "3"],
        cwd=ROOT,
        env=shop.environment(deployment),
        capture_output=True,
        text=True,
        check=False,
    )
    return sorted(re.sub(r"-\d+$", "", name) for name in PONG.findall(asked.stdout))


@pytest.mark.parametrize("placement", ["one", "split"])
def test_each_worker_answers_a_ping_in_one_line(tmp_path: Path, placement: str) -> None:
    """The queue of a second worker's remote control was refused, and the worker did not start."""
    deployments = [d for d in settings.TOPOLOGY.placements[placement].values() if d.queues]
    names = [deployment.name for deployment in deployments]
    shop = Shop(tmp_path, placement)
    try:
        shop.start()
        shop.eventually(lambda: workers(shop, names[0]) == sorted(names), within=30)
        with second_worker(shop, deployments[0]):
            shop.eventually(
                lambda: workers(shop, names[0]) == sorted([*names, names[0]]), within=30
            )
    finally:
        shop.close()


@contextmanager
def second_worker(shop: Shop, deployment: Deployment) -> Iterator[None]:
    worker = subprocess.Popen(
        [sys.executable, *commands.worker(deployment)],
        cwd=ROOT,
        env=shop.environment(deployment.name),
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
