"""The image: what its Dockerfile copies, and the shop that its build steps make."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from severable import keys
from severable.config.commands import GRANIAN
from tests import services
from tests.addresses import free_addresses
from tests.machine import eventually
from tests.processes import ROOT
from tests.production import EVERYWHERE, NEEDED, PRODUCTION
from tests.test_documents import MANAGE, PROCESSES
from tests.test_keys import read

SERVERS = {
    "DATABASE_URL": "postgres://postgres@127.0.0.1:5432/postgres",
    "BROKER_URL": "amqp://guest:guest@127.0.0.1:5672//",
    "CACHE_URL": "redis://127.0.0.1:6379/0",
}
SERVERS |= {name: os.environ[name] for name in SERVERS if os.environ.get(name)}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, by their names."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    lines = re.sub(r"^#.*\n|\\\n", "", text, flags=re.M).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def tracked() -> str:
    return subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def given(name: str) -> list[str]:
    return [rest.strip() for found, rest in instructions() if found == name]


def test_all_that_the_image_needs_is_copied() -> None:
    """A build that fails at a colleague's, whose folder has other files."""
    names = tracked()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()}
    copied = {
        source
        for rest in given("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied <= allowed
    assert all(re.search(rf"^{re.escape(source)}(/|$)", names, re.M) for source in copied)
    script = (ROOT / "deploy/build.sh").read_text()
    (packed,) = re.findall(r"tar .* -cf - (.*?) \|", script)
    assert set(packed.split()) <= copied


def test_the_image_is_built_by_the_script_and_runs_as_nobody_special() -> None:
    assert "deploy/build.sh /opt/shop $REQUIREMENTS" in given("RUN")
    assert given("USER") == ["10001"]
    assert given("FROM")[-1] == "python:3.11-slim"
    web = json.loads(given("CMD")[-1])
    assert web == ["python", "-m", "granian", *GRANIAN, *web[-5:]]
    ports = [web[web.index("--port") + 1], re.findall(r"GRPC_LISTEN=\S+:(\d+)", given("ENV")[0])[0]]
    assert given("EXPOSE") == [" ".join(ports)]
    assert re.search(r'"-m", "severable.heartbeat"', given("HEALTHCHECK")[0])


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The folder that the image would have as /opt/shop, made of what is tracked."""
    folder = Path(f"/tmp/shop-image-{uuid4().hex[:8]}")
    source = folder / "source"
    source.mkdir(parents=True)
    for name in tracked().splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    done = subprocess.run(
        ["deploy/build.sh", folder / "shop"],
        cwd=source,
        env=os.environ | {"SHOP_ENV": "production"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield folder / "shop"
    shutil.rmtree(folder)


class Container:
    """Processes of the built shop, with nothing in their environment but what is documented."""

    def __init__(self, built: Path, folder: Path) -> None:
        self.built, self.folder = built, folder
        (var := folder / "var").mkdir()
        self.http, grpc = free_addresses(2)
        self.database = f"shop_test_{uuid4().hex[:8]}"
        documented = re.findall(r"(\w+)=(\S+)", given("ENV")[0].replace("/opt/shop", str(built)))
        made = self.run("-m", "severable.keys", "--env").stdout
        secrets = read(made, folder / "env")
        chosen = {name: secrets.pop(name) for name in keys.CHOICES}  # for trying the shop out
        server = SERVERS["DATABASE_URL"].rpartition("/")[0]
        self.env = dict(documented) | chosen | PRODUCTION | secrets | SERVERS
        self.env |= {
            "PATH": f"{built}/venv/bin:/usr/bin:/bin",
            "DATABASE_URL": f"{server}/{self.database}",
            "CACHE_PREFIX": self.database,
            "VAR_DIR": str(var),
            "SHOP_HEARTBEAT": str(folder / "heartbeat"),
            "GRPC_LISTEN": grpc,
            "PAYMENT_PROVIDER": "apps.payments.providers.TestProvider",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.built / "venv/bin/python", *arguments],
            cwd=self.built / "app",
            env=getattr(self, "env", {}) | env,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=self.built / "app", env=self.env)
        self.processes.append(process)
        return process

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        host = {"Host": PRODUCTION["ALLOWED_HOSTS"], "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://{self.http}{path}",
            None if body is None else json.dumps(body).encode(),
            host | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 0, str(error).encode()

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)
        with psycopg.connect(SERVERS["DATABASE_URL"], autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")


@pytest.fixture
def container(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    for name, url in SERVERS.items():
        monkeypatch.setenv(name, url)
    if missing := services.missing():
        pytest.skip(f"a server is missing: {missing[0]}")
    running = Container(built, tmp_path)
    yield running
    running.end()


PASSWORD = "correct horse battery"
SEED = f"""
from uuid import uuid4
from apps.inventory import services as inventory
from apps.users import services as users
inventory.add_product(
    sku="MUG", name="Mug", description="", unit_price=900, currency="EUR", available=9
)
users.register(
    registration=uuid4(), username="ada", password={PASSWORD!r}, name="Ada",
    email="ada@example.com", address="1 Market Street", email_confirmed=True,
)
"""
ORDER = {
    "items": [{"sku": "MUG", "quantity": 1}],
    "payment": {"method": "card", "token": "tok_visa"},
}


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("running")
def test_the_built_shop_takes_an_order_in_production(container: Container) -> None:
    """Whatever works in a checkout, but not in what is shipped."""
    shipped = {path.name for path in (container.built / "app").iterdir()}
    code = {"apps", "protos", "severable", "shop"}
    assert shipped == {"manage.py", "topology.toml", "staticfiles", *code}
    written = time.time()

    everything = EVERYWHERE | NEEDED["users"] | NEEDED["payments"] | NEEDED["notifications"]
    for name in sorted(everything - {"JWT_PUBLIC_KEYS"}):
        done = container.run("manage.py", "check", **{name: ""})
        assert done.returncode == 1
        assert [line.partition(":")[0].strip() for line in done.stderr.splitlines()[1:]] == [name]
    done = container.run("manage.py", "check", "--deploy")
    assert re.findall(r"\((\w+\.\w\d+)\)", done.stderr) == ["payments.E001"], done.stderr

    done = container.run("manage.py", "prepare")
    assert done.returncode == 0, done.stderr
    assert container.run("manage.py", "shell", "-v0", "-c", SEED).returncode == 0
    (superuser,) = (line for line in MANAGE if " createsuperuser " in line)
    done = container.run(
        *shlex.split(superuser)[1:], "--noinput", DJANGO_SUPERUSER_PASSWORD=PASSWORD
    )
    assert done.returncode == 0, done.stderr
    port = container.http.rpartition(":")[2]
    for command in PROCESSES:
        container.start([port if part == "8000" else part for part in command])
    eventually(lambda: container.ask("/health/ready")[0] == 200)
    eventually(lambda: container.run("-m", "severable.heartbeat", "--max-age", "5").returncode == 0)

    status, style = container.ask("/static/admin/css/base.css")
    assert (status, b"--body-bg" in style) == (200, True)
    assert container.ask("/api/auth/token", {"username": "root", "password": PASSWORD})[0] == 200
    credentials = {"username": "ada", "password": PASSWORD}
    status, tokens = container.ask("/api/auth/token", credentials)
    assert status == 200, tokens
    bearer = {"Authorization": f"Bearer {json.loads(tokens)['access']}"}
    status, order = container.ask("/api/orders", ORDER, **bearer, Idempotency_Key=uuid4().hex)
    assert (status, json.loads(order)["status"]) == (201, "paid"), order

    for process in container.processes:
        process.terminate()
    assert [process.wait(60) for process in container.processes] == [0] * len(container.processes)
    code = [path for path in container.built.rglob("*") if path.stat().st_mtime > written]
    assert code == []
