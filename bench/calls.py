"""What a call costs on each channel, with all policies on, beside the floors it stands on.

`python -m bench.calls`. All variants take turns in one run, so that the ratios hold on a noisy
machine. It needs no server; with DATABASE_URL, BROKER_URL and CACHE_URL the process has those.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
FOLDER = tempfile.TemporaryDirectory(prefix="bench-")
os.environ |= {"VAR_DIR": FOLDER.name, "LOG_LEVEL": "ERROR"}

import django  # noqa: E402

django.setup()

import grpc  # noqa: E402
import urllib3  # noqa: E402
from django.conf import settings  # noqa: E402

from bench import servers  # noqa: E402
from bench.report import Section, figure, ratio  # noqa: E402
from bench.start import ROOT, free_port  # noqa: E402
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
    """Measure, and publish the table."""
    servers.end_on_signals()
    add_UserServiceServicer_to_server(Users(), registry)
    http, own, bare = (f"127.0.0.1:{free_port()}" for _ in range(3))
    with FOLDER, serving(http, own, bare):
        section(*measure(variants(http, own, bare))).publish("calls")


def variants(http: str, own: str, bare: str) -> dict[str, Callable[[], Any]]:
    """Return the ways to call: http and own are the shop's servers, bare is gRPC's alone."""
    rest = [stubs.policed(stubs.RestChannel(http), POLICY, Identity()) for _ in range(2)]
    return {
        "function": lambda: Users().GetUser(REQUEST, None),
        "local": over(stubs.policed(LocalChannel(), POLICY)),
        "bare grpcio": over(grpc.insecure_channel(bare)),
        "grpc": over(stubs.policed(stubs.grpc_channel(own), POLICY, Identity())),
        "bare REST": bare_rest(http),
        "rest": over(rest[0]),
        "rest, cached": over(caching(rest[1], POLICY, CACHED)),
    }


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


Times = dict[str, list[float]]  # microseconds of each round, by variant


def measure(variants: dict[str, Callable[[], Any]]) -> tuple[Times, Times]:
    """Return the median time and the caller's CPU of a call, by variant and round."""
    times: Times = {name: [] for name in variants}
    cpu: Times = {name: [] for name in variants}
    for call in variants.values():
        for _ in range(50):
            call()
    for _ in range(ROUNDS):
        for name, call in variants.items():
            began = time.process_time()
            times[name].append(statistics.median(_seconds(call) for _ in range(CALLS)) * 1e6)
            cpu[name].append((time.process_time() - began) / CALLS * 1e6)
    return times, cpu


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


FLOORS = {"local": "function", "grpc": "bare grpcio", "rest": "bare REST"}
FLOORS["rest, cached"] = "rest"
TEXT = """\
Medians of {rounds} rounds of {calls} calls of each variant in turn, by one caller; CPU is the
caller's. In parentheses: the smallest and largest ratio of a round."""


def section(times: Times, cpu: Times) -> Section:
    """Return the table: medians, and the ratio to the floor."""
    rows = []
    for name, taken in times.items():
        floor = FLOORS.get(name)
        of_floor = f"{ratio(taken, times[floor])} {floor}" if floor else ""
        medians = [statistics.median(taken), statistics.median(cpu[name])]
        rows.append([name, *(figure(value, "µs") for value in medians), of_floor])
    text = TEXT.format(rounds=ROUNDS, calls=CALLS)
    return Section("A call, as its caller sees it", ["", "p50", "CPU", "of its floor"], rows, text)


if __name__ == "__main__":
    main()
