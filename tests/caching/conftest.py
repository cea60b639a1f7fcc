"""Owners, caches and clients that tests of cached responses start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protos.user_pb2_grpc import UserServiceStub
from protos.user_pb2_grpc import add_UserServiceServicer_to_server as add_to_server
from severable.rpc import registry
from tests.caching.clients import (
    Clock,
    Owner,
    client,
    use_redis,
)
from tests.redis_server import Redis


@pytest.fixture
def owner() -> Iterator[Owner]:
    servicer = Owner()
    with registry.overridden():
        add_to_server(servicer, registry)
        yield servicer


@pytest.fixture
def redis(tmp_path: Path, settings: Any) -> Iterator[Redis]:
    """The cache is in a Redis of this test's own."""
    server = Redis(tmp_path)
    use_redis(settings, server.url)
    yield server
    server.stop()


@pytest.fixture(params=["folder", "redis"])
def kept(request: pytest.FixtureRequest, settings: Any) -> None:
    """In both kinds of cache."""
    if request.param == "redis":
        request.getfixturevalue("redis")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(owner: Owner, clock: Clock) -> UserServiceStub:
    return client(clock=clock)
