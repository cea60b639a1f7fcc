"""Cached responses are used while they are valid, and belong to each caller alone."""

from __future__ import annotations

import time

import grpc
import pytest

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.caching import reads as cached
from severable.caching.backends import (
    ReadThroughCache,
)
from severable.caching.stubs import caching
from severable.errors import NotFound
from severable.rpc.client import stubs
from severable.rpc.client.policy import Identity
from tests.caching.clients import (
    ENTRY,
    Owner,
    cache_key,
    client,
    get,
    named,
)
from tests.rpc.channels import POLICY, raising, serving


def test_whoever_asks_again_does_not_trouble_the_owner(
    kept: None, owner: Owner, users: UserServiceStub
) -> None:
    assert [get(users).id for _ in range(3)] == [7, 7, 7]
    assert owner.calls == 1
    assert (get(users, 8).id, owner.calls) == (8, 2)


def test_an_answer_from_the_cache_is_nobody_elses(owner: Owner, users: UserServiceStub) -> None:
    """A shared message that one caller changes would be wrong for all."""
    for _ in range(2):
        answer = get(users)
        answer.name = "changed"
    assert (get(users).name, owner.calls) == ("", 1)


def test_a_method_that_is_not_cached_is_asked_each_time(
    owner: Owner, users: UserServiceStub
) -> None:
    for name in ("One", "Two"):
        owner.behaviour = named(name)
        assert users.UpdateUser(pb.UpdateUserRequest(user_id=7)).name == name


@pytest.mark.parametrize("channel", ["rest", "grpc"])
def test_futures_and_calls_share_what_is_kept(owner: Owner, channel: str) -> None:
    with serving(channel) as remote:
        reads = cached.CachedReads(cached.rules([ENTRY]), ReadThroughCache())
        policed = stubs.policed(remote, POLICY, Identity())
        method = UserServiceStub(caching(policed, POLICY, reads)).GetUser
        request = pb.GetUserRequest(user_id=7)
        assert method.future(request).result().id == 7
        deadline = time.monotonic() + 10  # gRPC tells who has called back at a time of its own
        while cached.responses.find(cache_key()).response is None:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
        answer, call = method.with_call(request)
        assert (answer.id, call.code(), owner.calls) == (7, grpc.StatusCode.OK, 1)
        assert method.future(request).result().id == 7
        assert owner.calls == 1
        remote.close()


def test_refusals_are_not_kept(owner: Owner, users: UserServiceStub) -> None:
    """Somebody who signs up would stay unknown."""
    owner.behaviour = raising(NotFound("nobody"))
    with pytest.raises(grpc.RpcError) as raised:
        get(users)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    owner.behaviour = named("Alice")
    assert get(users).name == "Alice"


def test_what_is_kept_is_there_when_the_owner_is_not(owner: Owner, users: UserServiceStub) -> None:
    get(users)
    owner.behaviour = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
    for _ in range(POLICY.breaker_failures):
        with pytest.raises(grpc.RpcError):
            get(users, 8)
    assert get(users).id == 7


def test_answers_end_with_their_time(kept: None, owner: Owner) -> None:
    users = client(seconds=0.5)
    began = time.monotonic()
    while owner.calls < 2:
        get(users)
        assert time.monotonic() < began + 10
    assert time.monotonic() > began + 0.4
