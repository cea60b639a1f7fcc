"""Runs the processes of a deployment together: `python -m shop.supervisor`.

It starts them, starts again what dies, and stops them all on Ctrl-C or SIGTERM. For one
machine; a cluster has better ones. It imports nothing of Django, and so weighs little.
"""

from __future__ import annotations

import ctypes
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import FrameType

from shop import tls, topology
from shop.policies import TopologyError
from shop.topology import ENTRY

HOST = "127.0.0.1"
STOP_SECONDS = 25.0  # a web process drains, then finishes gRPC calls, then HTTP requests
# HTTP/2 is refused. A connection that is idle, or has sent half a head, is closed after 10 s.
# Backpressure counts connections: more than these are not accepted.
GRANIAN = ["--interface", "asgi", "--http", "1", "--no-ws", "--log-level", "error"]
GRANIAN += ["--http1-header-read-timeout", "10000", "--backlog", "4096", "--backpressure", "8192"]
HERE = Path(__file__).resolve().parent.parent


@dataclass
class Child:
    """One process: how it is started, and the process that runs now."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = field(default=0)

    def start(self) -> None:
        """Start it. It gets a session of its own, so that a Ctrl-C reaches only us."""
        self.started = monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=HERE,
            env=self.environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def died(self) -> bool:
        """Whether it runs no more."""
        return self.process is not None and self.process.poll() is not None

    def end(self, number: int) -> None:
        """Send a signal to it and to whatever it has started, even where it is dead itself."""
        assert self.process
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def pause(self) -> float:
        """Seconds to wait before it is started again: none, unless it keeps dying at once."""
        if monotonic() - self.started > 10:
            self.quick_deaths = 0
        self.quick_deaths += 1
        return 0.0 if self.quick_deaths < 3 else min(2.0 ** (self.quick_deaths - 3), 30.0)


def children(deployment: topology.Deployment) -> Iterator[Child]:
    """The processes of a deployment: a web process for each of its addresses and, where a context
    has a contract, worker and relay."""
    python, environment = sys.executable, _environment(deployment)
    pairs, certificates = deployment.pairs(), _certificates(deployment)
    for number, (http, grpc) in enumerate(pairs, 1):
        host, _, port = http.rpartition(":")
        web = [python, "-m", "granian", *GRANIAN, "--host", host.strip("[]"), "--port", port]
        if certificates:
            web += ["--ssl-certificate", certificates.cert, "--ssl-keyfile", certificates.key]
            web += ["--ssl-ca", certificates.ca, "--ssl-client-verify"]
        name = f"web {number}" if len(pairs) > 1 else "web"
        yield Child(name, [*web, "shop.serving:application"], environment | {"GRPC_LISTEN": grpc})
    if deployment.queues:
        # In a container everything is root; Celery need not say so at every start.
        worker = [python, "-W", "ignore:You're running the worker", "-m", "celery", "-A", "shop"]
        worker += ["--quiet", "worker", "--loglevel", "warning", "-Q", ",".join(deployment.queues)]
        worker += ["-P", "threads", "-c", "4"]
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        yield Child("worker", worker, environment)
        yield Child("relay", [python, "manage.py", "relay"], environment)


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._stopping = threading.Event()

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Ask the supervisor to end. A signal handler, too."""
        self._stopping.set()

    def run(self, when_started: Callable[[threading.Event], None]) -> None:
        """Run until stopped. `when_started` is called beside, in a thread of its own."""
        for child in self._children:
            child.start()
        threading.Thread(target=when_started, args=(self._stopping,), daemon=True).start()
        due: dict[str, float] = {}
        while not self._stopping.wait(0.1):
            for child in self._children:
                if child.name in due:
                    if monotonic() >= due[child.name]:
                        del due[child.name]
                        child.start()
                elif child.died():
                    child.end(signal.SIGKILL)
                    due[child.name] = monotonic() + child.pause()
                    assert child.process
                    say(f"{child.name} ended ({child.process.returncode}); starting it again")
        self._stop_all()

    def _stop_all(self) -> None:
        for child in self._children:
            assert child.process
            child.process.terminate()
        deadline = monotonic() + STOP_SECONDS
        for child in self._children:
            assert child.process
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - monotonic()))
            child.end(signal.SIGKILL)
            child.process.wait()
        say("stopped")


def say(text: str) -> None:
    """A line for whoever watches."""
    print(f"shop: {text}", flush=True)


def welcome(deployments: list[topology.Deployment]) -> Callable[[threading.Event], None]:
    """Prints, once the shop answers, where it is and how an order is placed."""
    entry = next((d for d in deployments if ENTRY in d.contexts), deployments[0])

    def wait_and_print(stopping: threading.Event) -> None:
        waiting = {(http, _certificates(d)) for d in deployments for http in d.http}
        while waiting and not stopping.wait(0.1):
            waiting = {one for one in waiting if not _answers(*one)}
        if not stopping.is_set():
            print(WELCOME.format(url=f"http://{entry.http[0]}", grpc=entry.grpc[0]), flush=True)

    return wait_and_print


def _certificates(deployment: topology.Deployment) -> tls.Certificates | None:
    return tls.certificates(os.environ) if deployment.inside else None


def _answers(address: str, certificates: tls.Certificates | None) -> bool:
    context = certificates.context() if certificates else None
    if context:
        context.check_hostname = False  # certificates name deployments, not addresses
    url = f"{'https' if context else 'http'}://{address}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=2, context=context):
            return True
    except (urllib.error.URLError, OSError):
        return False


WELCOME = """
The shop is open.

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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if not all(pool.map(_prepare, deployments)):
            sys.exit("shop: could not prepare the database")
    supervisor = Supervisor(_children(deployments))
    signal.signal(signal.SIGTERM, supervisor.stop)
    signal.signal(signal.SIGINT, supervisor.stop)
    supervisor.run(welcome(deployments))


def _topology() -> topology.Topology:
    return topology.load(topology.path())


def _placement() -> str:
    return os.environ.get("SHOP_PLACEMENT", "one")


def _deployments() -> list[topology.Deployment]:
    """Those of the placement, or the one that SHOP_DEPLOYMENT names."""
    found = _topology()
    found.where(_placement(), ENTRY)
    deployments = list(found.placements[_placement()].values())
    if "SHOP_DEPLOYMENT" in os.environ:
        deployments = [found.deployment(_placement(), os.environ["SHOP_DEPLOYMENT"])]
    for deployment in deployments:
        deployment.pairs()
    return deployments


def _take_port(name: str, kind: str) -> None:
    """PORT and GRPC_PORT say where the deployment of the gateway listens."""
    given = os.environ.get(name)
    if given is None:
        return
    if not given.isdigit() or not 0 < int(given) < 65536:
        sys.exit(f"shop: {name} is {given!r}, which is no port")
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


def _environment(deployment: topology.Deployment) -> dict[str, str]:
    # Without a bound, glibc gives each thread a heap of its own, and never takes it back.
    return {
        "MALLOC_ARENA_MAX": "2",
        **os.environ,
        "SHOP_PLACEMENT": _placement(),
        "SHOP_DEPLOYMENT": deployment.name,
    }


def _prepare(deployment: topology.Deployment) -> bool:
    command = [sys.executable, "manage.py", "prepare"]
    return (
        subprocess.run(command, cwd=HERE, env=_environment(deployment), check=False).returncode == 0
    )


def _children(deployments: list[topology.Deployment]) -> list[Child]:
    found = []
    for deployment in deployments:
        for child in children(deployment):
            if len(deployments) > 1:
                child.name = f"{deployment.name} {child.name}"
            found.append(child)
    return found


def _die_with_parent() -> None:
    # Linux only: where the supervisor is killed, its children end too, and free the port.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    main()
