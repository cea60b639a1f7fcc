"""What a call costs on each channel, with all policies on, beside the floors it stands on.

`make bench`. All variants take turns in one run, so that the ratios hold on a noisy machine.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
os.environ.setdefault("VAR_DIR", tempfile.mkdtemp())

import django  # noqa: E402

django.setup()

import grpc  # noqa: E402
import urllib3  # noqa: E402
from django.conf import settings  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from bench.users import Users  # noqa: E402
from protos import user_pb2 as pb  # noqa: E402
from protos.user_pb2_grpc import (  # noqa: E402
    UserServiceStub,
    add_UserServiceServicer_to_server,
)
from severable.caching.reads import CachedReads, rules  # noqa: E402
from severable.caching.stubs import caching  # noqa: E402
from severable.rpc.client import stubs  # noqa: E402
from severable.rpc.client.local import LocalChannel  # noqa: E402
from severable.rpc.client.policy import Identity  # noqa: E402
from severable.rpc.server.registry import registry  # noqa: E402

ROUNDS, CALLS = 12, 250
REQUEST = pb.GetUserRequest(user_id=7)
POLICY = settings.TOPOLOGY.policies["users"]
CACHED = CachedReads(rules(settings.TOPOLOGY.cached))  # in Redis with CACHE_URL, else in a folder


def main() -> None:
    add_UserServiceServicer_to_server(Users(), registry)
    http, own, bare = (f"127.0.0.1:{free_port()}" for _ in range(3))
    with serving(http, own, bare):
        report(
            measure(
                {
                    "function": lambda: Users().GetUser(REQUEST, None),
                    "local": over(stubs.policed(LocalChannel(), POLICY)),
                    "bare grpcio": over(grpc.insecure_channel(bare)),
                    "grpc": over(stubs.policed(stubs.grpc_channel(own), POLICY, Identity())),
                    "bare REST": bare_rest(http),
                    "rest": over(stubs.policed(stubs.RestChannel(http), POLICY, Identity())),
                    "rest, cached": over(
                        caching(
                            stubs.policed(stubs.RestChannel(http), POLICY, Identity()),
                            POLICY,
                            CACHED,
                        )
                    ),
                }
            )
        )


def over(channel: grpc.Channel) -> Callable[[], Any]:
    method = UserServiceStub(channel).GetUser
    return lambda: method(REQUEST, timeout=5)


def bare_rest(address: str) -> Callable[[], Any]:
    host, _, port = address.rpartition(":")
    pool = urllib3.HTTPConnectionPool(host, int(port))
    return lambda: pool.request("GET", "/bare").json()


@contextmanager
def serving(http: str, own: str, bare: str) -> Iterator[None]:
    """The other end, in a process of its own: bench/server.py."""
    host, _, port = http.rpartition(":")
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"]
    command += ["--log-level", "error", "--host", host, "--port", port, "bench.server:application"]
    env = {**os.environ, "GRPC_SHOP": own, "BARE_GRPC": bare}
    server = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        while True:
            try:
                urllib3.request("GET", f"http://{http}/bare", retries=False)
                break
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(variants: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Median and CPU of a call of each variant, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    cpu = dict.fromkeys(variants, 0.0)
    for call in variants.values():
        for _ in range(50):
            call()
    for _ in range(ROUNDS):
        for name, call in variants.items():
            began = time.process_time()
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
            cpu[name] += time.process_time() - began
    return {
        name: (statistics.median(times[name]) * 1e6, cpu[name] / (ROUNDS * CALLS) * 1e6)
        for name in variants
    }


def report(results: dict[str, tuple[float, float]]) -> None:
    floors = {"local": "function", "grpc": "bare grpcio", "rest": "bare REST"}
    table = Table(title="A call, as its caller sees it")
    for heading in ("", "p50 µs", "CPU µs", "of its floor"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, (median, cpu) in results.items():
        floor = floors.get(name)
        ratio = f"{median / results[floor][0]:.2f} × {floor}" if floor else ""
        table.add_row(name, f"{median:.1f}", f"{cpu:.1f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
