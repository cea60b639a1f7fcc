"""Processes of a test's own, on the test's database."""

from __future__ import annotations

import os
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
