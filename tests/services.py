"""Whether the servers are there that `make test-services` needs: `python -m tests.services`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import psycopg
import redis
from amqp.exceptions import AMQPError
from kombu import Connection


def missing() -> list[str]:
    """What does not answer, and why not."""
    found = []
    for name, connect in SERVERS.items():
        url = os.environ[name]
        try:
            connect(url)
        except (psycopg.Error, AMQPError, redis.RedisError, OSError) as error:
            found.append(f"{name} {url.rpartition('@')[2]}: {str(error).splitlines()[0]}")
    return found


def _postgresql(url: str) -> None:
    psycopg.connect(url, connect_timeout=3).close()


def _rabbitmq(url: str) -> None:
    with Connection(url, connect_timeout=3) as connection:
        connection.connect()


def _redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
        client.ping()


SERVERS: dict[str, Callable[[str], None]] = {
    "DATABASE_URL": _postgresql,
    "BROKER_URL": _rabbitmq,
    "CACHE_URL": _redis,
}

if __name__ == "__main__":
    sys.exit("\n".join(missing()) or 0)
