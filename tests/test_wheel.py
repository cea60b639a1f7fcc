"""The wheel holds the package alone, and works in a project that has nothing of the shop."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, copy_of_the_repository

SETTINGS = """
SECRET_KEY = "of a test"
INSTALLED_APPS = ["events", "api"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
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


def test_it_is_used_without_the_shop(wheel: Path, tmp_path: Path) -> None:
    """A project of its own with apps called `events` and `api`: nothing collides, and the topology
    and the deployment files are made from its own contexts."""
    installed = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, str(installed), str(wheel)], check=True)
    project = tmp_path / "project"
    for app in ("library", "events", "api", "books"):
        (project / app).mkdir(parents=True)
        (project / app / "__init__.py").touch()
    (project / "library" / "settings.py").write_text(SETTINGS)
    (project / "topology.toml").write_text(TOPOLOGY)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=project,
        env={"PYTHONPATH": f"{installed}:{project}", "DJANGO_SETTINGS_MODULE": "library.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "books",
        "books-web: library.asgi:application",
        "severable_events severable_jobs",
    ]


TOPOLOGY = """
[contexts.books]
package = "book"
[contexts.gateway]
calls = ["books"]
[calls]
timeout = 1
retries = 0
retry_budget = 0.2
concurrency = 1
breaker_failures = 1
breaker_seconds = 1
[placements.one.books]
contexts = ["books", "gateway"]
http = "127.0.0.1:1"
grpc = "127.0.0.1:2"
"""
SCRIPT = """
import sys
import django
django.setup()
from severable import topology
from severable.deploy import render
from severable.events.apps import EventsConfig
from severable.jobs.apps import JobsConfig
found = topology.load(topology.path())
print(*found.placements["one"])
[lines] = render(found, "procfile").values()
[web] = [line for line in lines.splitlines() if line.startswith("books-web")]
print("books-web:", web.split()[-1])
print(EventsConfig.label, JobsConfig.label)
assert not {"shop", "apps", "tools"} & {name.partition(".")[0] for name in sys.modules}
"""
