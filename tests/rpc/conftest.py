"""Servicers of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protos.user_pb2_grpc import add_UserServiceServicer_to_server
from severable.rpc import registry
from tests.rpc.channels import Users


@pytest.fixture
def own_registry() -> Iterator[None]:
    """What a test registers serves until the test ends."""
    with registry.overridden():
        yield


@pytest.fixture
def users(own_registry: None) -> Users:
    """Every channel leads to this servicer."""
    servicer = Users()
    add_UserServiceServicer_to_server(servicer, registry)
    return servicer
