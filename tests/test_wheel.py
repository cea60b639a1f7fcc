"""The wheel holds the package alone, and is all that a project of one's own needs.

tests/example is such a project: it has apps named `events` and `api`, its own user model, and two
contexts, of which one calls the other and publishes an event that the other handles.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from tests.addresses import free_addresses
from tests.chaos.running import ON_SERVERS
from tests.processes import ROOT, copy_of_the_repository

PROCFILE = """
import django
django.setup()
from django.conf import settings
from severable.deploy import render
print(render(settings.TOPOLOGY, "procfile")[f"deploy/procfile/{settings.PLACEMENT}"], end="")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_of_the_repository(folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True)
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_what_it_reads(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"severable"}
    shipped = {str(f.relative_to(ROOT)) for f in (ROOT / "severable").rglob("*") if f.is_file()}
    wanted = {name for name in shipped if "__pycache__" not in name}
    assert wanted <= set(names), "package-data in pyproject.toml does not name them all"


class Library:
    """The example project in a folder of its own, with the wheel beside it."""

    def __init__(self, folder: Path, wheel: Path, placement: str) -> None:
        self._folder = folder / "library"
        shutil.copytree(ROOT / "tests" / "example", self._folder)
        installed = folder / "installed"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, str(installed), str(wheel)], check=True)
        self._deployments = ["library"] if placement == "one" else ["readers", "books"]
        http = free_addresses(len(self._deployments))
        grpc = free_addresses(len(self._deployments))
        self.readers, self.books = f"http://{http[0]}", f"http://{http[-1]}"
        self._env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": f"{installed}:{self._folder}",
            "DJANGO_SETTINGS_MODULE": "library.settings",
            "SHOP_PLACEMENT": placement,
            **{f"HTTP_{d.upper()}": a for d, a in zip(self._deployments, http, strict=True)},
            **{f"GRPC_{d.upper()}": a for d, a in zip(self._deployments, grpc, strict=True)},
        }
        self._log = (folder / "log").open("w+")
        self._generate()

    def _generate(self) -> None:
        options = ["-I.", f"-I{sysconfig.get_paths()['purelib']}"]
        options += ["--python_out=.", "--grpc_python_out=."]
        self.run("-m", "grpc_tools.protoc", *options, "protos/book.proto", "protos/reader.proto")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        for name in self._deployments:
            self._env["SHOP_DEPLOYMENT"] = name
            self.run("manage.py", "prepare")
        (self._folder / "Procfile").write_text(self.run("-c", PROCFILE))
        self._honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "start"],
            cwd=self._folder,
            env=self._env,
            stdout=self._log,
            stderr=self._log,
        )

    def stop(self) -> None:
        self._honcho.send_signal(signal.SIGTERM)
        self._honcho.wait(60)
        self._log.close()

    def eventually(self, url: str, expected: object, token: str = "") -> None:
        """Ask again until the response is as expected, for a minute."""
        ends, found = monotonic() + 60, None
        while monotonic() < ends:
            try:
                found = ask(url, token=token)
            except OSError as error:
                found = error
            if found == expected:
                return
            sleep(0.2)
        self._log.seek(0)
        raise AssertionError(f"{url}: {found}, not {expected}\n{self._log.read()}")


def ask(url: str, body: object = None, token: str = "") -> Any:
    """Return a JSON response; with a body, to a POST."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=15) as response:
        return json.load(response)


@pytest.fixture(params=["split", pytest.param("one", marks=pytest.mark.chaos)])
def library(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path, wheel, request.param)
    made.start()
    yield made
    made.stop()


@ON_SERVERS  # for its time: it uses none
@pytest.mark.timeout(240)
def test_a_project_of_ones_own_calls_publishes_and_handles(library: Library) -> None:
    """In one process and split: what the package asked of the shop's own settings or folders would
    be missing here."""
    for address in {library.readers, library.books}:
        library.eventually(f"{address}/health/live", {"status": "ok"})
    credentials = {"username": "ada", "password": "demo"}
    token = ask(f"{library.readers}/api/readers/token", credentials)["access"]
    lent = ask(f"{library.books}/api/loans", {"title": "Emma"}, token)
    assert lent == {"title": "Emma", "reader_name": "Ada Lovelace"}
    counted = {"username": "ada", "loans": 1}
    library.eventually(f"{library.readers}/api/readers/me", counted, token)
    modules = library.run("-c", "import django, sys; django.setup(); print(*sys.modules)").split()
    assert not {"shop", "tools"} & {name.partition(".")[0] for name in modules}
