"""The database settings: the timeouts of a session, and the name under which the server lists it.

Every wait ends before a job's lease does (15 s), so that a locked row, a process that is frozen
inside a transaction or a server that is gone delays others for seconds and not forever. A wait that
times out raises Django's OperationalError: 503 for a request, a retry for a job.

A call's deadline does not change these limits: setting them would cost each transaction one more
statement. A caller gets its response at its deadline, and the work for it ends soon after.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created

from severable.config.environment import VAR, env
from severable.topology import Deployment


class Limits(NamedTuple):
    """Timeouts of a session in seconds: for a lock, for a statement, and for an idle
    transaction."""

    lock: float
    statement: float
    idle: float


def given() -> dict[str, Any]:
    """Return the settings that DATABASE_URL contains."""
    try:
        found: dict[str, Any] = env.db_url("DATABASE_URL", f"sqlite:///{VAR / 'db.sqlite3'}")
    except ValueError as error:
        raise ImproperlyConfigured(f"DATABASE_URL: {error}") from None
    if not {"ENGINE", "NAME"} <= found.keys():
        raise ImproperlyConfigured("DATABASE_URL is no postgres://user:password@host:port/database")
    return found


def settings_for(deployment: Deployment) -> dict[str, Any]:
    """Return Django's settings for a deployment's database."""
    found = given()
    sqlite = found["ENGINE"].endswith("sqlite3")
    limits = Limits(
        # SQLite locks the whole database, not a row: its writers wait longer.
        lock=env.float("DATABASE_LOCK_TIMEOUT", 5.0 if sqlite else 3.0),
        statement=env.float("DATABASE_STATEMENT_TIMEOUT", 10.0),
        idle=env.float("DATABASE_IDLE_TIMEOUT", 10.0),
    )
    found["NAME"] = name_of(str(found["NAME"]), deployment)
    if sqlite:
        Path(found["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        return found | _sqlite(limits)
    options = postgresql_options(limits, deployment.name, found.get("OPTIONS", {}))
    return found | {
        "ENGINE": "severable.config.postgresql",
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"pool": _pool(), **options},
    }


def _pool() -> dict[str, Any]:
    size = env.int("DATABASE_POOL", 20)
    if size < 1:
        raise ImproperlyConfigured(f"DATABASE_POOL is {size}: a process needs a connection")
    return {"min_size": 1, "max_size": size, "timeout": 5}


def _sqlite(limits: Limits) -> dict[str, Any]:
    # IMMEDIATE: a transaction that reads first and writes later would otherwise fail at once
    # with "database is locked", whatever the timeout.
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": limits.lock,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    return {
        "CONN_MAX_AGE": None,
        "OPTIONS": options,
        "TEST": {"NAME": VAR / "test.sqlite3"},
    }


def name_of(given: str, deployment: Deployment) -> str:
    """Return the name of a deployment's database, derived from the name in DATABASE_URL."""
    path = Path(given)
    suffix = f"-{deployment.database}" if deployment.database else ""
    return str(path.with_name(f"{path.stem}{suffix}{path.suffix}"))


def postgresql_options(limits: Limits, deployment: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return libpq's options for a session. `given`, the options in DATABASE_URL, come last and
    so override the others."""
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
    """Return the kind of a process from its command line: web, worker, relay or a command."""
    program = Path(argv[0])
    if program.name == "manage.py":
        return argv[1] if len(argv) > 1 else "manage"
    kinds = {"granian": "web", "celery": "worker"}
    return next((kinds[part] for part in program.parts[-2:] if part in kinds), program.stem)


@contextmanager
def unlimited_statements() -> Iterator[None]:
    """Disable the statement timeout in the block, for example for migrations. The lock timeout
    stays: other sessions queue behind a session that waits for a lock."""
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


def _install_file_check(sender: Any, connection: Any, **kwargs: Any) -> None:
    if connection.vendor == "sqlite" and not connection.is_in_memory_db():
        connection.opened_file = _file_of(connection)
        if _reject_lost_file not in connection.execute_wrappers:
            connection.execute_wrappers.append(_reject_lost_file)


def _reject_lost_file(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Raise OperationalError if the SQLite file was deleted or replaced since it was opened: what
    is written to it is lost. The next connection opens the new file."""
    connection = context["connection"]
    if _file_of(connection) == connection.opened_file:
        return execute(sql, params, many, context)
    connection.close_at = 0.0  # by close_old_connections, once this statement's cursor is closed
    raise OperationalError(
        f"{connection.settings_dict['NAME']} was deleted or replaced while it was in use: "
        "put it back, or start the shop again"
    )


def _file_of(connection: Any) -> tuple[int, int] | None:
    try:
        found = os.stat(connection.settings_dict["NAME"])  # noqa: PTH116  # for every statement
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


connection_created.connect(_install_file_check)
