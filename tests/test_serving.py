"""A web process that is told to end says so, and serves what still comes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from severable.config.commands import GRANIAN
from tests.addresses import free_addresses
from tests.processes import ROOT

pytestmark = [pytest.mark.xdist_group("running"), pytest.mark.timeout(120)]

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Web:
    """One web process of the shop, as the supervisor starts it."""

    def __init__(self, folder: Path) -> None:
        self.http, self.grpc = free_addresses(2)
        self.connection = http.client.HTTPConnection(self.http)
        command = [sys.executable, "-m", "granian", *GRANIAN]
        command += ["--port", self.http.rpartition(":")[2], "shop.asgi:application"]
        own = {"VAR_DIR": str(folder), "GRPC_LISTEN": self.grpc, "DRAIN_SECONDS": "3"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **own}, start_new_session=True
        )
        wait_for(lambda: self.ask("/health/live")[0] == 200)

    def ask(self, path: str) -> tuple[int, str | None, bytes]:
        """Status, Connection header and body, by a connection that is kept; 0 where nobody is."""
        try:
            self.connection.request("GET", path)
            answer = self.connection.getresponse()
            return answer.status, answer.getheader("Connection"), answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return 0, None, b""

    def health(self) -> int:
        """What gRPC's health service says."""
        with grpc.insecure_channel(self.grpc) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    running = Web(tmp_path)
    yield running
    with suppress(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()


def test_leaving_in_good_order(web: Web) -> None:
    assert web.ask("/health/live")[:2] == (200, None)

    web.process.send_signal(signal.SIGTERM)
    wait_for(lambda: web.health() == NOT_SERVING)
    status, connection, body = web.ask("/health/ready")
    assert (status, json.loads(body)["checks"]["process"]) == (503, "draining")
    assert connection == "close"
    assert web.ask("/health/live")[:2] == (200, "close")

    assert web.process.wait(30) == 0
    assert web.ask("/health/live")[0] == 0
