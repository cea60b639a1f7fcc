"""A placement that is started from its Procfile serves all that docker-compose.yml relies on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import grpc
import pytest
import yaml
from django.conf import settings
from grpc_health.v1 import health_pb2, health_pb2_grpc

from severable import topology
from severable.deploy import compose, procfile, prometheus
from tests.chaos.running import ON_SERVERS, Shop
from tests.processes import ROOT

pytestmark = [ON_SERVERS, pytest.mark.xdist_group("running"), pytest.mark.timeout(240)]

TOKEN = "a token of this test"
FILES = compose.render(settings.TOPOLOGY)
SERVICES: dict[str, Any] = yaml.safe_load(FILES[compose.PATH])["services"]


class FromProcfile(Shop):
    """A shop that honcho runs, as its rendered Procfile says, at free addresses."""

    def __init__(self, folder: Path, placement: str) -> None:
        super().__init__(folder, placement, environment={"METRICS_TOKEN": TOKEN})
        self._env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._lines = self._rendered(placement).splitlines()
        self.grpc = {name: self._env[f"GRPC_{name.upper()}"] for name in self.addresses}

    def _rendered(self, placement: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._env.items():
                if name.startswith(("HTTP_", "GRPC_")):
                    patch.setenv(name, value)
            files = procfile.render(topology.load(topology.path()))
        return files[f"deploy/procfile/{placement}"]

    def start(self) -> None:
        self._each_queue("delete")
        with ThreadPoolExecutor(2) as pool:
            once = [line.lstrip("# ") for line in self._lines if line.startswith("#   ")]
            list(pool.map(self._run, once))
        file = self.folder / "Procfile"
        file.write_text("\n".join(map(self._beating, self._lines)))
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "honcho", "-d", ROOT, "-f", file, "start"],
            env=self._env,
            stdout=self._log,
            stderr=self._log,
        )
        self.eventually(self.ready, within=120)

    def _run(self, command: str) -> None:
        subprocess.run(command, shell=True, cwd=ROOT, env=self._env, check=True, timeout=120)

    def _beating(self, line: str) -> str:
        return re.sub(r"^([\w-]+): ", rf"\1: SHOP_HEARTBEAT={self.folder}/\1 ", line)

    def probe(self, process: str, command: list[str]) -> bool:
        """Run a health check of docker-compose.yml against a process of the Procfile."""
        assert self._supervisor and self._supervisor.poll() is None, self._last_words()
        (address,) = self.addresses[process.partition("-")[0]]
        told = [word.replace("127.0.0.1:8000", address) for word in command]
        env = {**self._env, "SHOP_HEARTBEAT": f"{self.folder}/{process}"}
        done = subprocess.run(told, cwd=ROOT, env=env, capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture(params=["mixed", pytest.param("split", marks=pytest.mark.chaos)])
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, FromProcfile]]:
    shop = FromProcfile(tmp_path, request.param)
    try:
        shop.start()
        yield request.param, shop
    finally:
        shop.stop()


def test_all_that_compose_names_is_served(started: tuple[str, FromProcfile]) -> None:
    placement, shop = started
    probed = probes(placement)
    assert probed.keys() == processes(shop)
    for process, command in probed.items():
        shop.eventually(lambda p=process, c=command: shop.probe(p, c), within=60)  # type: ignore[misc]
    for name, address in shop.grpc.items():
        assert serves_grpc(address), name
    assert status(f"{shop.url}/health/live") == 200  # as the edge is probed
    every_deployment_is_scraped(placement, shop)
    an_order_goes_through(shop)


def probes(placement: str) -> dict[str, list[str]]:
    """Return the health checks of a placement's processes by their names in the Procfile."""
    return {
        name.removeprefix(f"{placement}-"): own["healthcheck"]["test"][1:]
        for name, own in SERVICES.items()
        if own.get("profiles") == [placement] and name.endswith(("-web", "-worker", "-relay"))
    }


def processes(shop: FromProcfile) -> set[str]:
    lines = (shop.folder / "Procfile").read_text().splitlines()
    return {line.partition(":")[0] for line in lines if not line.startswith("#")}


def every_deployment_is_scraped(placement: str, shop: FromProcfile) -> None:
    jobs = yaml.safe_load(FILES[prometheus.path(placement)])["scrape_configs"]
    assert {job["job_name"] for job in jobs} == shop.addresses.keys()
    for job in jobs:
        url = f"http://{shop.addresses[job['job_name']][0]}{job['metrics_path']}"
        assert status(url) == 401
        assert status(url, Authorization=f"Bearer {TOKEN}") == 200


def serves_grpc(found: str) -> bool:
    with grpc.insecure_channel(found) as channel:
        asked = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=10, wait_for_ready=True)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=15
        ) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def an_order_goes_through(shop: FromProcfile) -> None:
    alice = shop.sign_in("alice")
    body = {
        "items": [{"sku": "CLOCK-OAK", "quantity": 1}],
        "payment": {"method": "card", "token": "tok_visa"},
    }
    code, order = shop.request("POST", "/api/orders", body, **alice)
    assert (code, order["status"]) == (201, "paid"), order
    code, summary = shop.request("GET", f"/api/orders/{order['id']}/summary", **alice)
    assert (code, summary["missing"]) == (200, [])
    shop.eventually(lambda: len(shop.mails("order.OrderPaid")) == 1, within=30)
