"""One behaviour on every channel: local, REST and gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import grpc
import pytest
from django.db import transaction

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceStub
from severable.errors import Conflict, NotFound, OutcomeUnknown, PaymentRequired, from_error
from severable.rpc import deadline
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import CallInTransaction, Identity
from severable.rpc.server.registry import registry
from severable.topology import TopologyError
from tests.rpc.channels import POLICY, Users, raising, serving


class Get:
    """GetUser on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub = UserServiceStub(channel)

    def __call__(self, user_id: int = 7, **options: Any) -> Any:
        return self.stub.GetUser(pb.GetUserRequest(user_id=user_id), **options)


@pytest.fixture(params=["local", "rest", "grpc"])
def get(request: pytest.FixtureRequest, users: Users) -> Iterator[Get]:
    if request.param == "local":
        yield Get(stubs.policed(LocalChannel(), POLICY))
        return
    with serving(request.param) as channel:
        yield Get(stubs.policed(channel, POLICY, Identity()))
        channel.close()


def test_an_answer_comes_back_as_a_copy(users: Users, get: Get) -> None:
    """One process must not hide what a split would show: messages shared by reference."""
    kept = pb.UserResponse(id=7, name="Ümit ✓")
    users.behaviour = lambda request, context: kept
    answer = get()
    answer.name = "changed"
    assert kept.name == "Ümit ✓"


def test_a_request_of_the_wrong_type_is_no_request(users: Users, get: Get) -> None:
    with pytest.raises((TypeError, AttributeError, grpc.RpcError)):
        get.stub.GetUser({"user_id": 7})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("no such user"), grpc.StatusCode.NOT_FOUND),
        (Conflict("not now"), grpc.StatusCode.FAILED_PRECONDITION),
        (OutcomeUnknown("try again"), grpc.StatusCode.ABORTED),
        (ZeroDivisionError("secret"), grpc.StatusCode.INTERNAL),
    ],
)
def test_errors_have_code_and_details(
    users: Users, get: Get, error: Exception, code: grpc.StatusCode
) -> None:
    users.behaviour = raising(error)
    with pytest.raises(grpc.RpcError) as raised:
        get()
    assert raised.value.code() is code
    assert "secret" not in raised.value.details()


def test_a_refusal_keeps_its_kind_code_and_facts(users: Users, get: Get) -> None:
    refusal = PaymentRequired("no money", balance="5")
    refusal.code = "short"  # type: ignore[misc]
    users.behaviour = raising(refusal)
    with pytest.raises(grpc.RpcError) as raised:
        get()
    got = from_error(raised.value)
    assert isinstance(got, PaymentRequired)
    assert (got.code, got.detail, got.facts) == ("short", "no money", {"balance": "5"})


def test_a_fault_is_no_refusal(users: Users, get: Get) -> None:
    """An unknown outcome taken for a refusal would undo what may have happened."""
    users.behaviour = raising(OutcomeUnknown("lost"))
    with pytest.raises(grpc.RpcError) as raised:
        get()
    assert from_error(raised.value) is None


def test_the_refusal_of_a_callee_s_callee_comes_through(users: Users, get: Get) -> None:
    def ask_another(request: Any, context: Any) -> Any:
        users.behaviour = raising(NotFound("deep down"))
        return get()

    users.behaviour = ask_another
    with pytest.raises(grpc.RpcError) as raised:
        get()
    got = from_error(raised.value)
    assert isinstance(got, NotFound) and got.detail == "deep down"


@pytest.mark.parametrize("kind", ["local", "rest", "grpc"])
def test_a_method_that_nobody_serves_is_unimplemented(users: Users, kind: str) -> None:
    with (
        registry.overridden({"/user.UserService/GetUser": None}),
        nullcontext(LocalChannel()) if kind == "local" else serving(kind) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        Get(stubs.policed(channel, POLICY, Identity()))()
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.django_db(transaction=True)
def test_a_call_inside_a_transaction_is_refused(users: Users, get: Get) -> None:
    with transaction.atomic(), pytest.raises(CallInTransaction):
        get()
    assert get().id == 7


def test_every_call_has_a_deadline(users: Users, get: Get) -> None:
    seen = []
    users.behaviour = lambda request, context: (
        seen.append(context.time_remaining()) or pb.UserResponse()
    )
    usual = POLICY.timeout_of("/user.UserService/GetUser")
    get()
    get(timeout=1)
    assert usual - 1 < seen[0] <= usual + 0.1
    assert 0 < seen[1] <= 1.1


def test_a_callee_never_gets_more_than_is_left(users: Users, get: Get) -> None:
    seen = []
    users.behaviour = lambda request, context: (
        seen.append(context.time_remaining()) or pb.UserResponse()
    )
    with deadline.within(0.5):
        get(timeout=60)
    with deadline.within(60), deadline.within(0.5):
        get()
    assert max(seen) <= 0.6
    assert deadline.remaining() is None


def test_an_answer_that_comes_too_late_is_none(users: Users, get: Get) -> None:
    """A remote caller would have given up: the local one must see the same."""

    def slow(request: Any, context: Any) -> Any:
        time.sleep(0.03)
        return pb.UserResponse()

    users.behaviour = slow
    with pytest.raises(grpc.RpcError) as raised:
        get(timeout=0.01)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_with_call_and_future_work_as_in_grpc(users: Users, get: Get) -> None:
    method = get.stub.GetUser
    answer, call = method.with_call(pb.GetUserRequest(user_id=7))
    assert (answer.id, call.code()) == (7, grpc.StatusCode.OK)
    assert method.future(pb.GetUserRequest(user_id=8)).result().id == 8
    users.behaviour = raising(NotFound("gone"))
    assert method.future(pb.GetUserRequest(user_id=8)).exception().code() is (
        grpc.StatusCode.NOT_FOUND
    )


def test_an_unknown_context_is_named() -> None:
    with pytest.raises(TopologyError, match="no context 'elsewhere'"):
        stubs.channel_to("elsewhere")
