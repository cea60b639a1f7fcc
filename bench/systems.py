"""The systems that bench/orders.py compares, each in processes of its own: the plain monolith, and
the shop as `make run` and `make split` start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench import machine
from bench.servers import DATABASE, Place
from bench.start import ROOT, free_port

START_SECONDS, STOP_SECONDS, DONE_SECONDS = 180.0, 40.0, 120.0
STOCK = 1_000_000_000
UNLIMITED = 1_000_000_000


@dataclass(frozen=True)
class Usage:
    """CPU seconds: of a system's processes, of its PostgreSQL backends, and of RabbitMQ."""

    processes: dict[str, float]
    backends: dict[int, float]
    rabbitmq: float

    def since(self, before: Usage) -> dict[str, float]:
        """Return the CPU seconds since then, by kind. A backend that has ended is left out."""
        spent = {k: v - before.processes.get(k, 0.0) for k, v in self.processes.items()}
        spent["PostgreSQL"] = sum(
            seconds - before.backends.get(pid, 0.0) for pid, seconds in self.backends.items()
        )
        return spent | {"RabbitMQ": self.rabbitmq - before.rabbitmq}


class System(ABC):
    """A system with databases and a virtual host of its own, that runs or does not."""

    name: str
    skus: list[str]

    def __init__(self, where: Place, folder: Path) -> None:
        self.where, self.folder = where, folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = self._environment()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stocked = False
        self.orders = 0  # that it was given

    def start(self) -> None:
        """Start its processes, and return when it serves."""
        self._processes = self._start()
        wait_until(self._serves, START_SECONDS, f"{self.name} does not serve")
        if not self._stocked:
            self._stock()
            self._stocked = True

    def stop(self) -> None:
        """Stop its processes; kill those that do not end."""
        pids = [pid for process in self._processes for pid in machine.tree(process.pid)]
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        self._processes = []

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of its processes since they started, by kind."""
        total: dict[str, float] = {}
        for process in self._processes:
            for kind, seconds in machine.cpu_by_kind(process.pid).items():
                total[kind] = total.get(kind, 0.0) + seconds
        return total

    def usage(self) -> Usage:
        """Return the CPU seconds of its processes and of the servers."""
        return Usage(self.cpu(), machine.backends(self.where.name), machine.rabbitmq_seconds())

    def memory(self) -> float:
        """Return the memory of its processes in MiB."""
        return sum(machine.memory(process.pid) for process in self._processes)

    def mails(self) -> int:
        """Return how many mails it has written."""
        folder = self.folder / "mail"
        return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208  # often called

    @abstractmethod
    def settled(self, orders: int) -> bool:
        """Return whether all that so many paid orders cause is done."""

    def count(self, table: str, where: str, database: str) -> int:
        """Return how many rows of a table meet a condition."""
        url = f"{DATABASE.rpartition('/')[0]}/{database}"
        with psycopg.connect(url, autocommit=True) as server:
            row = server.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
            return int(row[0]) if row else 0

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HTTP_", "GRPC_"))}
        return kept | {
            "DATABASE_URL": self.where.database_url,
            "BROKER_URL": self.where.broker_url,
            "VAR_DIR": str(self.folder),
        }

    @abstractmethod
    def _start(self) -> list[subprocess.Popen[bytes]]:
        """Start its processes, and return them."""

    @abstractmethod
    def _stock(self) -> None:
        """Fill the shelves with what the clients order."""

    def _run(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only us, and we stop it
            )

    def _serves(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            sys.exit(f"bench: {self.name} ended: {self._log()}")
        return answers(f"{self.url}{self._probe}")

    _probe = "/health/ready"

    def _log(self) -> str:
        return (self.folder / "log").read_text()[-2000:]


class Plain(System):
    """The plain monolith: one web process, a Celery worker with its usual pool."""

    name = "plain Django"
    skus = [f"MUG-{number}" for number in range(8)]
    _probe = "/admin/login/"

    def settled(self, orders: int) -> bool:
        return self.mails() >= 2 * orders

    def _environment(self) -> dict[str, str]:
        settings = {"DJANGO_SETTINGS_MODULE": "bench.plain.settings", "SECRET_KEY": "k" * 50}
        return super()._environment() | settings

    def _start(self) -> list[subprocess.Popen[bytes]]:
        if self._run("-m", "bench.plain.seed").wait():
            sys.exit(f"bench: {self.name} has no tables: {self._log()}")
        web = ["-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "error"]
        web += ["--host", "127.0.0.1", "--port", str(self.port), "bench.plain.wsgi:application"]
        worker = ["-m", "celery", "-A", "bench.plain.celery", "worker", "--loglevel", "warning"]
        return [self._run(*web, KIND="web"), self._run(*worker, KIND="worker")]

    def _stock(self) -> None:
        execute(self.where.database_url, f"UPDATE store_product SET stock = {STOCK}")


class Shop(System):
    """The shop under its supervisor, as `make run` or `make split` starts it."""

    skus = [f"{code}-OAK" for code in ("MUG", "BOWL", "PLATE", "JUG", "LAMP", "CHAIR", "TRAY")]
    skus += ["CLOCK-OAK"]

    def __init__(self, where: Place, folder: Path, placement: str, channel: str = "grpc") -> None:
        self.placement, self.channel = placement, channel
        self.name = {"one": "shop, one process"}.get(placement, f"shop, split over {channel}")
        super().__init__(where, folder)

    def database(self, context: str) -> str:
        """Return the name of the database with a context's tables."""
        return self.where.name if self.placement == "one" else f"{self.where.name}-{context}"

    def settled(self, orders: int) -> bool:
        return (
            self.mails() >= 2 * orders
            and self.count("orders_parcel", "true", self.database("orders")) >= orders
            and self.count("inventory_reservation", "state = 'sold'", self.database("inventory"))
            >= orders
        )

    def _environment(self) -> dict[str, str]:
        # Beside each other, its limits would measure the limits.
        limits = {name: str(UNLIMITED) for name in ("ORDERS", "SIGN_UPS", "READS")}
        found = super()._environment() | {f"RATE_LIMIT_{k}": v for k, v in limits.items()}
        found |= {"SIGN_IN_TRIES": str(UNLIMITED), "LOG_LEVEL": "ERROR", "EMPTY": "1"}
        found |= {"SHOP_PLACEMENT": self.placement, "CHANNEL": self.channel}
        for name in deployments(self.placement):
            found[f"HTTP_{name.upper()}"] = f"127.0.0.1:{free_port()}"
            found[f"GRPC_{name.upper()}"] = f"127.0.0.1:{free_port()}"
        entry = "SHOP" if self.placement == "one" else "GATEWAY"
        found[f"HTTP_{entry}"] = f"127.0.0.1:{self.port}"
        self._addresses = [v for k, v in found.items() if k.startswith("HTTP_") and ":" in v]
        return found

    def _start(self) -> list[subprocess.Popen[bytes]]:
        return [self._run("-m", "tools.supervisor")]

    def _serves(self) -> bool:
        ready = super()._serves()
        return ready and all(answers(f"http://{a}/health/ready") for a in self._addresses)

    def _stock(self) -> None:
        base = self.where.database_url.rpartition("/")[0]
        where = f"{base}/{self.database('inventory')}"
        execute(where, f"UPDATE inventory_product SET available = {STOCK}")


def split(channel: str) -> Callable[[Place, Path], System]:
    """Return what makes the shop with one deployment for each context."""
    return lambda where, folder: Shop(where, folder, "split", channel)


SYSTEMS: dict[str, Callable[[Place, Path], System]] = {
    "plain": Plain,
    "one": lambda where, folder: Shop(where, folder, "one"),
    "grpc": split("grpc"),
    "rest": split("rest"),
}
TITLES = {
    "plain": "plain Django",
    "one": "the shop, one process",
    "grpc": "split, gRPC",
    "rest": "split, REST",
}


def settle(system: System, orders: int) -> None:
    """Wait until all that these further orders cause is done."""
    system.orders += orders
    complaint = f"{system.name} has not done all that {system.orders} orders cause"
    wait_until(lambda: system.settled(system.orders), DONE_SECONDS, complaint)


def deployments(placement: str) -> list[str]:
    """Return the names of a placement's deployments."""
    from severable import topology

    return [d.name for d in topology.load(ROOT / "topology.toml").deployments(placement)]


def execute(url: str, sql: str, parameters: Any = None) -> None:
    """Run a statement in a database."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(sql, parameters)


def answers(url: str) -> bool:
    """Return whether a URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float, complaint: str) -> None:
    """Wait until a condition holds. Exits with the complaint after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench: {complaint} within {seconds:.0f} s")
        time.sleep(0.1)
