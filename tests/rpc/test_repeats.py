"""Every method that its contract lets come twice is called twice, over every channel: the second
call answers like the first and changes nothing. The calls are in the samples of each context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from django.apps import apps

from severable.protos import events_pb2
from severable.protos.events_pb2_grpc import EventFeedStub
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import Identity
from tests import samples
from tests.conftest import MakeUser
from tests.rpc.channels import POLICY, serving
from tests.samples import Call, Known

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["local", "rest", "grpc"])
def channel(request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    with ExitStack() as stack:
        if request.param == "local":
            yield stubs.policed(LocalChannel(), POLICY)
        else:
            channel = stack.enter_context(serving(request.param))
            yield stubs.policed(channel, POLICY, Identity())
            channel.close()


def calls(user: Any, known: Known) -> Iterator[Call]:
    yield from samples.calls(user, known)
    yield EventFeedStub, "Read", events_pb2.ReadRequest(source="orders")


def everything() -> dict[str, list[Any]]:
    """Every row of every table."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
    }


def test_what_comes_twice_is_done_once(channel: grpc.Channel, make_user: MakeUser) -> None:
    user = make_user("alice", credit=100)
    called = set()
    for stub, name, request in calls(user, samples.Objects(user)):
        method = getattr(stub(channel), name)
        first, before = method(request), everything()
        assert method(request) == first, name
        assert everything() == before, name
        called.add((stub.__name__.removesuffix("Stub"), name))

    samples.check_calls(called)
