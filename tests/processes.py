"""Processes of a test's own, on the test's database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).resolve().parents[1]


def environment(var: Path) -> dict[str, str]:
    """The environment of a process that shares this test's database, with a folder of its own."""
    name = connection.settings_dict["NAME"]
    server = os.environ.get("DATABASE_URL", "")
    if connection.vendor == "sqlite":
        url = f"sqlite:///{Path(name).absolute()}"
    else:
        url = f"{server.rpartition('/')[0]}/{name}"
    return {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(var)}


def run(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing in the environment but this."""
    clean = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=clean | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def manage(env: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return run(env, "manage.py", *command)


def start(port: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Start a shop that is expected to end at once."""
    return subprocess.run(
        [sys.executable, "-m", "tools.supervisor"],
        cwd=ROOT,
        env={**os.environ, "PORT": port, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_of_the_repository(folder: Path) -> Path:
    """Copy what git tracks, or would track, to a folder that is not there yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder
