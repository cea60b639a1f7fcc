"""The gateway's forwarding beside other proxies, each with one worker, before a trivial upstream.

`python -m bench.gateway [--rounds 5] [--requests 4000]`. It needs nginx, which is the upstream,
too. With node and npm it installs @fastify/http-proxy into a folder that it removes. The bare
forwarder needs aiohttp, which the shop does not: `pip install aiohttp`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from bench import machine, servers
from bench.load import CONNECTIONS, Load
from bench.report import Section, figure, ratio, say
from bench.start import ROOT, free_port
from bench.systems import answers, deployments, wait_until

PATH = "/api/inventory/products/MUG-OAK"
GATEWAY, DIRECT = "the gateway", "upstream alone"
WITH_FASTIFY, WITH_AIOHTTP = "@fastify/http-proxy", "bare ASGI with aiohttp"
BODY = '{"sku": "MUG-OAK", "name": "Oak mug", "unit_price": 900, "currency": "EUR"}'
NGINX = """\
daemon off; worker_processes 1; pid %(folder)s/%(name)s.pid; error_log %(folder)s/error.log;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000;
client_body_temp_path %(folder)s/b; proxy_temp_path %(folder)s/p; fastcgi_temp_path %(folder)s/f;
uwsgi_temp_path %(folder)s/u; scgi_temp_path %(folder)s/s;
%(server)s }
"""
RESPOND = """\
server { %s location / { default_type application/json; return 200 '%s'; } }"""
FORWARD = """\
upstream contexts { server 127.0.0.1:%(upstream)s; keepalive 64; keepalive_requests 100000000; }
server { listen 127.0.0.1:%(port)s; location / { proxy_pass http://contexts;
proxy_http_version 1.1; proxy_set_header Connection ""; } }"""
FASTIFY = """\
const server = require('fastify')();
server.register(require('@fastify/http-proxy'), {upstream: 'http://127.0.0.1:%(upstream)s'});
server.listen({port: %(port)s, host: '127.0.0.1'});
"""
TEXT = """\
Medians of {rounds} rounds that alternate, each of {requests} requests over {connections}
connections by one client in Python, which bounds what the fastest serve: compare CPU. In
parentheses: the smallest and largest ratio of a round. Added p50 is beyond that of the upstream
without a proxy.{missing}"""


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: its port and its process."""

    port: int
    pid: int


@dataclass(frozen=True)
class Round:
    """What a proxy did in one round."""

    rate: float  # requests a second
    p50: float  # milliseconds
    cpu: float  # microseconds of a request


def main() -> None:
    """Read the arguments, measure, and publish the table."""
    assert __doc__
    parser = argparse.ArgumentParser("bench.gateway", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    given = parser.parse_args()
    servers.end_on_signals()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    if not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        sys.exit("bench: the gateway was not measured: nginx is not installed")
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = proxies(stack, Path(folder))
        taken = measure(found, given.rounds, given.requests)
    missing = "".join(
        f" {name} was not measured." for name in (WITH_FASTIFY, WITH_AIOHTTP) if name not in found
    )
    text = TEXT.format(
        rounds=given.rounds, requests=given.requests, connections=CONNECTIONS, missing=missing
    )
    section(taken, text).publish("gateway")


def measure(found: dict[str, Proxy], rounds: int, requests: int) -> dict[str, list[Round]]:
    """Return the rounds of each proxy."""
    taken: dict[str, list[Round]] = {name: [] for name in found}
    for proxy in found.values():
        Load(proxy.port, PATH, requests // 10).run()
    for number in range(rounds):
        for name, proxy in found.items():
            taken[name].append(one_round(proxy, requests))
            say(f"round {number + 1}, {name}: {taken[name][-1].rate:.0f} requests/s")
    return taken


def one_round(proxy: Proxy, requests: int) -> Round:
    """Send the requests, and return what they took."""
    load, before = Load(proxy.port, PATH, requests), cpu(proxy)
    took = load.run()
    return Round(
        requests / took, median(load.seconds) * 1e3, (cpu(proxy) - before) / requests * 1e6
    )


def cpu(proxy: Proxy) -> float:
    """Return the CPU seconds of a proxy's processes."""
    return sum(machine.cpu_by_kind(proxy.pid).values())


def section(taken: dict[str, list[Round]], text: str) -> Section:
    """Return the table: medians, and the gateway's ratio to each."""
    gateway, direct = taken[GATEWAY], [one.p50 for one in taken[DIRECT]]
    rows = []
    for name, rounds in taken.items():
        added = median(one.p50 - floor for one, floor in zip(rounds, direct, strict=True))
        row = [name, figure(median(one.rate for one in rounds))]
        row += [figure(median(one.cpu for one in rounds), "µs"), figure(added, "ms")]
        row += [ratio([one.rate for one in gateway], [one.rate for one in rounds])]
        row += [ratio([one.cpu for one in gateway], [one.cpu for one in rounds])]
        rows.append(row if name not in (GATEWAY, DIRECT) else [*row[:4], "", ""])
    headings = ["", "requests/s", "CPU of a request", "added p50"]
    return Section("Forwarding", [*headings, "gateway's rate", "gateway's CPU"], rows, text)


def proxies(stack: ExitStack, folder: Path) -> dict[str, Proxy]:
    """Start the upstream and all proxies that this machine has."""
    contexts, port = {name: free_port() for name in deployments("split")}, free_port()
    upstream = contexts["inventory"]
    listen = " ".join(f"listen 127.0.0.1:{one};" for one in contexts.values())
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    found = {DIRECT: nginx_with(stack, folder, nginx, upstream, RESPOND % (listen, BODY))}
    forward = FORWARD % {"upstream": upstream, "port": port}
    found["nginx"] = nginx_with(stack, folder, nginx, port, forward)
    if fastify := fastify_command(folder, upstream, port := free_port()):
        found[WITH_FASTIFY] = start(stack, fastify, port, {})
    if find_spec("aiohttp"):
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws"]
        command += [
            "--log-level",
            "error",
            "--host",
            "127.0.0.1",
            "--port",
            str(port := free_port()),
        ]
        url = {"UPSTREAM": f"http://127.0.0.1:{upstream}"}
        found[WITH_AIOHTTP] = start(stack, [*command, "bench.forwarder:application"], port, url)
    return found | {GATEWAY: gateway(stack, folder, contexts)}


def gateway(stack: ExitStack, folder: Path, contexts: dict[str, int]) -> Proxy:
    """Start the gateway's web process; the upstream has a port for each deployment."""
    from severable.config import commands

    address = f"127.0.0.1:{free_port()}"
    environment = {f"HTTP_{n.upper()}": f"127.0.0.1:{p}" for n, p in contexts.items()}
    environment |= {"HTTP_GATEWAY": address, "GRPC_LISTEN": f"127.0.0.1:{free_port()}"}
    environment |= {"SHOP_PLACEMENT": "split", "SHOP_DEPLOYMENT": "gateway"}
    environment |= {"VAR_DIR": str(folder), "LOG_LEVEL": "ERROR"}
    command = [sys.executable, *commands.web(address)]
    return start(stack, command, int(address.rpartition(":")[2]), environment)


def nginx_with(stack: ExitStack, folder: Path, nginx: str, port: int, server: str) -> Proxy:
    """Start an nginx with one worker."""
    file = folder / f"nginx-{port}.conf"
    file.write_text(NGINX % {"folder": folder, "name": port, "server": server})
    return start(stack, [nginx, "-c", str(file), "-e", str(folder / "error.log")], port, {})


def fastify_command(folder: Path, upstream: int, port: int) -> list[str]:
    """Install @fastify/http-proxy, and return the command that runs it; none without node."""
    if not (shutil.which("node") and shutil.which("npm")):
        return []
    command = ["npm", "install", "--silent", "--prefix", str(folder), "fastify"]
    if subprocess.run(
        [*command, "@fastify/http-proxy"], check=False, capture_output=True
    ).returncode:
        return []
    file = folder / "fastify.cjs"
    file.write_text(FASTIFY % {"upstream": upstream, "port": port})
    return ["node", str(file)]


def start(stack: ExitStack, command: list[str], port: int, environment: dict[str, str]) -> Proxy:
    """Start a proxy, and return when it answers."""
    process = stack.enter_context(running(command, environment))
    url = f"http://127.0.0.1:{port}{PATH}"
    wait_until(lambda: answers(url), 90, f"{Path(command[0]).name} does not answer")
    return Proxy(port, process.pid)


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
