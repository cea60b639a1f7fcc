"""Runs the processes of a deployment together: `python -m tools.supervisor`.

It starts them, restarts those that end or freeze, and stops all on Ctrl-C or SIGTERM. It is for one
machine. It does not import Django, to use little memory.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

import environ

from severable import heartbeat, topology
from severable.config import commands, tls
from severable.topology import ENTRY, TopologyError
from tools.processes import HERE, Child, Supervisor

HOST = "127.0.0.1"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
environ.Env.read_env(HERE / ".env")  # as the processes do
VAR = Path(os.environ.get("VAR_DIR", HERE / "var"))


def children(deployment: topology.Deployment) -> Iterator[Child]:
    """Yield the processes of a deployment: a web process for each of its addresses and, if a
    context has a contract, a worker and a relay."""
    pairs, certificates = deployment.pairs(), _certificates(deployment)
    environment = _environment(deployment)
    for number, (http, grpc) in enumerate(pairs, 1):
        name = f"web {number}" if len(pairs) > 1 else "web"
        web = commands.web(http, certificates)
        yield Child(name, [sys.executable, *web], environment | {"GRPC_LISTEN": grpc})
    if deployment.queues:
        yield Child("worker", [sys.executable, *commands.worker(deployment)], environment)
        yield Child("relay", [sys.executable, *commands.relay()], environment)


def welcome(deployments: list[topology.Deployment]) -> Callable[[threading.Event], None]:
    """Return a function that prints the addresses of the shop when it is ready, and an example."""
    entry = next((d for d in deployments if ENTRY in d.contexts), deployments[0])

    text = WELCOME if os.environ.get("SHOP_ENV", "development") == "development" else OPEN

    def wait_and_print(stopping: threading.Event) -> None:
        waiting = {(http, _certificates(d)) for d in deployments for http in d.http}
        while waiting and not stopping.wait(0.1):
            waiting = {one for one in waiting if not _answers("ready", *one)}
        if not stopping.is_set():
            print(text.format(url=f"http://{entry.http[0]}", grpc=entry.grpc[0]), flush=True)

    return wait_and_print


def _certificates(deployment: topology.Deployment) -> tls.Certificates | None:
    return tls.certificates(os.environ) if deployment.inside else None


def _answers(what: str, address: str, certificates: tls.Certificates | None) -> bool:
    context = certificates.context() if certificates else None
    if context:
        context.check_hostname = False  # certificates name deployments, not addresses
    url = f"{'https' if context else 'http'}://{address}/health/{what}"
    try:
        with urllib.request.urlopen(url, timeout=5, context=context):
            return True
    except (urllib.error.URLError, OSError):
        return False


WELCOME = """
The shop is open.

  Storefront    {url}/
  API browser   {url}/api/inventory/products
  API docs      {url}/api/docs
  Admin         {url}/admin/          admin / admin
  gRPC          {grpc}                manage.py service_token prints a token
  Customers     alice / demo, bob / demo
  Mails         var/mail/

Place an order:

  TOKEN=$(curl -s {url}/api/auth/token -H 'Content-Type: application/json' \\
    -d '{{"username": "alice", "password": "demo"}}' | sed 's/.*"access":"\\([^"]*\\)".*/\\1/')

  curl -i {url}/api/orders -H "Authorization: Bearer $TOKEN" \\
    -H 'Content-Type: application/json' -H "Idempotency-Key: $(date +%s)" \\
    -d '{{"items": [{{"sku": "MUG-OAK", "quantity": 2}}],
         "payment": {{"method": "card", "token": "tok_visa"}}}}'

Ctrl-C stops it.
"""
OPEN = "shop: open at {url}, gRPC at {grpc}"  # outside development, without demo accounts


def main() -> None:
    try:
        _take_port("PORT", "HTTP")
        _take_port("GRPC_PORT", "GRPC")
        deployments = _deployments()
        tls.certificates(os.environ)
    except (TopologyError, tls.TlsError) as error:
        sys.exit(f"shop: {error}")
    for deployment in deployments:
        for address in (*deployment.http, *deployment.grpc):
            _refuse_taken(address)
    locks = [_lock(deployment) for deployment in deployments]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if not all(pool.map(_prepare, deployments)):
            sys.exit("shop: not started; see the errors above")
    supervisor = Supervisor(_children(deployments), _frozen_seconds())
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    supervisor.run(welcome(deployments))
    for lock in locks:
        lock.close()


def _frozen_seconds() -> float:
    given = os.environ.get("FROZEN_SECONDS", "45")
    try:
        return float(given)
    except ValueError:
        sys.exit(f"shop: FROZEN_SECONDS is {given!r}, not a number")


def _topology() -> topology.Topology:
    return topology.load(topology.path())


def _placement() -> str:
    return os.environ.get("SHOP_PLACEMENT", "one")


def _deployments() -> list[topology.Deployment]:
    """Those of the placement, or the one that SHOP_DEPLOYMENT names."""
    found = _topology()
    found.where(_placement(), ENTRY)
    deployments = found.deployments(_placement())
    if "SHOP_DEPLOYMENT" in os.environ:
        deployments = [found.deployment(_placement(), os.environ["SHOP_DEPLOYMENT"])]
    for deployment in deployments:
        deployment.pairs()
    return deployments


def _take_port(name: str, kind: str) -> None:
    """Set an address of the gateway's deployment from PORT or GRPC_PORT."""
    given = os.environ.get(name)
    if given is None:
        return
    if not given.isdigit() or not 0 < int(given) < 65536:
        sys.exit(f"shop: {name} is {given!r}, not a port")
    entry = os.environ.get("SHOP_DEPLOYMENT") or _topology().where(_placement(), ENTRY).name
    os.environ[f"{kind}_{entry.upper()}"] = f"{HOST}:{given}"


def _refuse_taken(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError:
            sys.exit(f"shop: port {port} is in use; choose others: PORT=8080 GRPC_PORT=50052 …")


def _lock(deployment: topology.Deployment) -> IO[str]:
    """Return a file that is locked for as long as it is open: a second supervisor of the same
    deployment would make the same database at the same time."""
    file = VAR / "run" / f"{_placement()}-{deployment.name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"shop: {VAR} is in use by a running shop; stop it, or choose another VAR_DIR=…")
    return lock


def _environment(deployment: topology.Deployment) -> dict[str, str]:
    # Without a limit, glibc gives each thread its own heap and never frees it.
    return {
        "MALLOC_ARENA_MAX": "2",
        **os.environ,
        "SHOP_PLACEMENT": _placement(),
        "SHOP_DEPLOYMENT": deployment.name,
    }


def _prepare(deployment: topology.Deployment) -> bool:
    command = [sys.executable, *commands.prepare()]
    return (
        subprocess.run(command, cwd=HERE, env=_environment(deployment), check=False).returncode == 0
    )


def _children(deployments: list[topology.Deployment]) -> list[Child]:
    found = []
    for deployment in deployments:
        addresses = iter(deployment.http)
        for child in children(deployment):
            if child.name.startswith("web"):
                address, certificates = next(addresses), _certificates(deployment)
                child.alive = partial(_answers, "live", address, certificates)
            else:
                _have_heartbeat(child, f"{deployment.name}-{child.name}")
            if len(deployments) > 1:
                child.name = f"{deployment.name} {child.name}"
            found.append(child)
    return found


def _have_heartbeat(child: Child, name: str) -> None:
    file = VAR.absolute() / "run" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    child.environment = child.environment | {heartbeat.VARIABLE: str(file)}
    child.alive = heartbeat.Heartbeat(file)


if __name__ == "__main__":
    main()
