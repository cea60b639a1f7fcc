"""Sessions with the database: how long each may wait, and under which name the server lists it.

Every wait ends before a job's lease does (15 s), so that a row that somebody locks, a process that
is frozen inside a transaction or a server that is gone delays others for seconds and not for ever.
A wait that ends so is Django's OperationalError: 503 for a request, another attempt for a job.

A call's deadline does not change these limits: telling the server would cost each transaction one
more statement. A caller gets its answer at its deadline, and what serves it ends soon after.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection


class Limits(NamedTuple):
    """Seconds that a session waits for a lock, for one statement, and inside a transaction for
    the next statement."""

    lock: float
    statement: float
    idle: float


def postgresql_options(limits: Limits, deployment: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return libpq's options for a session. What `given` says, from DATABASE_URL, comes last and
    so wins."""
    timeouts = {
        "lock_timeout": limits.lock,
        "statement_timeout": limits.statement,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    settings = [f"-c {name}={round(seconds * 1000)}" for name, seconds in timeouts.items()]
    return {
        "application_name": f"{deployment} {process_kind(sys.argv)} {os.getpid()}",
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        **given,
        "options": " ".join([*settings, given.get("options", "")]).strip(),
    }


def process_kind(argv: list[str]) -> str:
    """Return what a process is, by its command line: web, worker, relay or another command."""
    program = Path(argv[0])
    if program.name == "manage.py":
        return argv[1] if len(argv) > 1 else "manage"
    kinds = {"granian": "web", "celery": "worker"}
    return next((kinds[part] for part in program.parts[-2:] if part in kinds), program.stem)


@contextmanager
def unlimited_statements() -> Iterator[None]:
    """Let statements take as long as they need, such as those of a migration. Locks are still
    waited for no longer than usual: others queue behind whoever waits for one."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")
