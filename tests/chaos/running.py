"""A whole shop in processes of its own, to be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from amqp.exceptions import NotFound
from django.conf import settings
from kombu import Connection

from tests.addresses import free_addresses
from tests.processes import ROOT

SERVER = os.environ.get("DATABASE_URL", "")
BROKER = os.environ.get("BROKER_URL", "")
ON_SERVERS = pytest.mark.skipif(
    not BROKER and "LONG_TESTS" not in os.environ,
    reason="long; `make test-services` runs it, and so does LONG_TESTS=1",
)
TOKEN_SECONDS = settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds()


class Shop:
    """The embedded shop as `make run` or `make split` starts it, with a folder and ports of its
    own; with replicas, that many web processes a deployment."""

    def __init__(
        self,
        folder: Path,
        placement: str = "one",
        channel: str = "grpc",
        replicas: int = 1,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._env = {**os.environ, "VAR_DIR": str(folder)}
        self._env.pop("PORT", None)
        self._database = f"shop_test_{uuid4().hex[:8]}"
        self._env["CACHE_PREFIX"] = self._database
        self.database_url = f"{SERVER.rpartition('/')[0]}/{self._database}" if SERVER else ""
        if SERVER:
            self._env["DATABASE_URL"] = self.database_url
        self.addresses: dict[str, list[str]] = {}  # of each deployment's web processes
        self._env |= {"SHOP_PLACEMENT": placement, "CHANNEL": channel, **(environment or {})}
        for name in settings.TOPOLOGY.placements[placement]:
            self.addresses[name] = free_addresses(replicas)
            self._env[f"HTTP_{name.upper()}"] = ",".join(self.addresses[name])
            self._env[f"GRPC_{name.upper()}"] = ",".join(free_addresses(replicas))
        entry = settings.TOPOLOGY.where(placement, "gateway").name
        self.url = f"http://{self.addresses[entry][0]}"

        self._signed_in: dict[str, tuple[dict[str, str], float]] = {}
        self._log = (folder / "log").open("wb")
        self._supervisor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._each_queue("delete")  # what an earlier shop has left would be news to this one
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "tools.supervisor"],
            cwd=ROOT,
            env=self._env,
            stdout=self._log,
            stderr=self._log,
        )
        self.eventually(self.ready, within=120)

    def stop(self) -> int:
        """Ask it to end, and say with which code it did. That takes seconds: it drains."""
        assert self._supervisor
        try:
            self._supervisor.send_signal(signal.SIGTERM)
            return self._supervisor.wait(30)
        finally:
            self.close()

    def close(self) -> None:
        """Kill what is left of it, and drop its databases."""
        if self._supervisor:
            groups = self._processes() if self._supervisor.poll() is None else []
            self._supervisor.kill()
            self._supervisor.wait()
            for group in groups:  # each child has one; the child itself dies with its parent
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        self._log.close()
        self._drop_databases()

    def wipe_broker(self) -> None:
        """Every message that is under way is gone."""
        shutil.rmtree(self.folder / "broker", ignore_errors=True)  # the worker takes files, too
        self._each_queue("purge")

    def _each_queue(self, what: str) -> None:
        if BROKER:
            with Connection(BROKER) as connection:
                for context in settings.TOPOLOGY.contexts:
                    with suppress(NotFound):
                        getattr(connection.channel(), f"queue_{what}")(context)

    def _drop_databases(self) -> None:
        if SERVER:
            with psycopg.connect(SERVER, autocommit=True) as server:
                like = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
                for (name,) in server.execute(like, [self._database]).fetchall():
                    server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def manage(self, *command: str, **env: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self._env | env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def environment(self, deployment: str = "") -> dict[str, str]:
        """What a process beside the shop needs, one of a deployment if it is named."""
        return self._env | ({"SHOP_DEPLOYMENT": deployment} if deployment else {})

    def children(self) -> dict[str, int]:
        """The process ids of web, worker and relay."""
        assert self._supervisor
        listed = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self._supervisor.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        signs = {"granian": "web", "celery": "worker", "relay": "relay"}
        return {
            name: int(line.split()[0])
            for line in listed.splitlines()
            for sign, name in signs.items()
            if sign in line
        }

    def process(self, deployment: str, sign: str) -> int | None:
        """The process id of a deployment's process whose command has a part that is so."""
        for pid in self._processes():
            with suppress(OSError):  # it ends just now
                process = Path(f"/proc/{pid}")
                env = (process / "environ").read_bytes().split(b"\0")
                command = (process / "cmdline").read_bytes().split(b"\0")
                if f"SHOP_DEPLOYMENT={deployment}".encode() in env and sign.encode() in command:
                    return pid
        return None

    def _processes(self) -> list[int]:
        assert self._supervisor
        task = Path(f"/proc/{self._supervisor.pid}/task/{self._supervisor.pid}")
        return [int(pid) for pid in (task / "children").read_text().split()]

    def kill(self, name: str) -> bool:
        """kill -9, as the machine's memory might run out. Says whether it ran."""
        pid = self.children().get(name)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid is not None

    def ready(self) -> bool:
        """Whether every web process of every deployment serves."""
        return all(_serves(address) for several in self.addresses.values() for address in several)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def sign_in(self, username: str, password: str = "demo") -> dict[str, str]:
        """Headers that speak for a user, for some minutes to come."""
        headers, at = self._signed_in.get(username, ({}, 0.0))
        if not headers or time.monotonic() - at > TOKEN_SECONDS / 2:
            body = {"username": username, "password": password}
            status, tokens = self.request("POST", "/api/auth/token", body)
            assert status == 200, tokens
            headers = {"Authorization": f"Bearer {tokens['access']}"}
            self._signed_in[username] = headers, time.monotonic()
        return headers

    def fill_the_shelves(self, sku: str) -> None:
        """So that no order is refused for want of stock."""
        path = f"/api/inventory/products/{sku}/restock"
        status, _ = self.request(
            "POST", path, {"quantity": 100_000}, **self.sign_in("admin", "admin")
        )
        assert status == 200

    def eventually(self, condition: Callable[[], bool], *, within: float) -> None:
        """Wait until something is so. Fails after so many seconds."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"not within {within} s; {self._last_words()}"
            time.sleep(0.1)

    def _last_words(self) -> str:
        return "its log ends:\n" + (self.folder / "log").read_text()[-3000:]

    def mails(self, kind: str) -> list[str]:
        """The text of every mail of a kind that was sent."""
        return [f.read_text() for f in (self.folder / "mail").glob(f"{kind}.*.eml")]


def descendants(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in descendants(int(child)))]


def _serves(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health/ready", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
