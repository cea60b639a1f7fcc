"""Databases and virtual hosts of a benchmark's own, made for it and removed after it.

`DATABASE_URL` and `BROKER_URL` say which PostgreSQL and which RabbitMQ; by default those at their
standard ports on this machine. Virtual hosts are made with `rabbitmqctl`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

import psycopg

DATABASE = os.environ.get("DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
BROKER = os.environ.get("BROKER_URL") or "amqp://guest:guest@127.0.0.1:5672//"


@dataclass(frozen=True)
class Place:
    """A database and a virtual host: their URLs, and the name that both have."""

    name: str
    database_url: str
    broker_url: str


@contextmanager
def place() -> Iterator[Place]:
    """Make a virtual host, and a name for databases; remove the host and all databases whose
    names begin so. Exits with a message if a server is missing."""
    _refuse_other_servers()
    name = f"bench_{uuid4().hex[:8]}"
    user = BROKER.partition("://")[2].partition(":")[0].partition("@")[0]
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        create_database(name)
        yield Place(
            name,
            f"{DATABASE.rpartition('/')[0]}/{name}",
            f"{BROKER.partition('://')[0]}://{BROKER.partition('://')[2].partition('/')[0]}/{name}",
        )
    finally:
        drop_databases(name)
        _rabbitmqctl("delete_vhost", name)


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Make a place and a folder, and return the environment in which the shop's code uses them."""
    with place() as where, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield {
            "DATABASE_URL": where.database_url,
            "BROKER_URL": where.broker_url,
            "VAR_DIR": folder,
            "LOG_LEVEL": "ERROR",
        }


def create_database(name: str) -> None:
    """Create a database on the server."""
    with psycopg.connect(DATABASE, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')


def drop_databases(prefix: str) -> None:
    """Drop all databases whose names begin with a prefix."""
    with psycopg.connect(DATABASE, autocommit=True) as server:
        for name in databases(prefix):
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def databases(prefix: str) -> list[str]:
    """Return the names of all databases that begin with a prefix."""
    with psycopg.connect(DATABASE, autocommit=True) as server:
        found = server.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
        )
        return [name for (name,) in found.fetchall()]


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end this process as Ctrl-C does, so that nothing is left behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _refuse_other_servers() -> None:
    if not DATABASE.startswith("postgres"):
        sys.exit("bench: DATABASE_URL must be postgres://…")
    if not BROKER.startswith("amqp"):
        sys.exit("bench: BROKER_URL must be amqp://…")
    if not shutil.which("rabbitmqctl"):
        sys.exit("bench: rabbitmqctl must be on the path: it makes a virtual host for each system")
    try:
        psycopg.connect(DATABASE).close()
    except psycopg.OperationalError as error:
        sys.exit(f"bench: no PostgreSQL: {error}")


def _rabbitmqctl(*arguments: str) -> None:
    done = subprocess.run(
        ["rabbitmqctl", "--quiet", *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"bench: rabbitmqctl {' '.join(arguments)}: {done.stderr.strip()}")
