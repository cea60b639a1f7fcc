"""Values, refusals and identities come through every channel alike, to the bit."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protos import inventory_pb2, user_pb2
from protos.inventory_pb2_grpc import (
    InventoryServiceServicer,
    InventoryServiceStub,
    add_InventoryServiceServicer_to_server,
)
from protos.user_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server
from severable.errors import from_error
from severable.rpc import identity
from severable.rpc.client import stubs
from severable.rpc.client.local import LocalChannel
from severable.rpc.client.policy import Identity
from severable.rpc.server.registry import registry
from severable.telemetry import correlation
from severable.telemetry.correlation import Correlation, correlated
from tests.rpc.channels import POLICY, Users, serving

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


class Inventory(InventoryServiceServicer):
    """Notes what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.answer: Any = None

    def answered(self, request: Message, context: Any) -> Any:
        self.asked.append(request)
        return self.answer

    GetProducts = Reserve = Release = answered


class Everywhere:
    """The same contracts on all three channels."""

    def __init__(self, channels: dict[str, grpc.Channel]) -> None:
        self.inventory = Inventory()
        self.users = Users()
        add_InventoryServiceServicer_to_server(self.inventory, registry)
        add_UserServiceServicer_to_server(self.users, registry)
        self.channels = channels


@pytest.fixture(scope="module")
def everywhere() -> Any:
    channels: dict[str, grpc.Channel] = {}
    with registry.overridden():
        everywhere = Everywhere(channels)
        with serving("rest") as rest, serving("grpc") as own:
            channels |= {
                "local": stubs.policed(LocalChannel(), POLICY),
                "rest": stubs.policed(rest, POLICY, Identity()),
                "grpc": stubs.policed(own, POLICY, Identity()),
            }
            yield everywhere


def lines() -> Any:
    return st.lists(st.builds(inventory_pb2.Line, sku=TEXT, quantity=INT32), max_size=4)


REQUESTS = {
    "Reserve": st.builds(inventory_pb2.ReserveRequest, order_id=TEXT, lines=lines()),
    "Release": st.builds(inventory_pb2.ReleaseRequest, order_id=TEXT),
    "GetProducts": st.builds(inventory_pb2.GetProductsRequest, skus=st.lists(TEXT, max_size=4)),
}
ANSWERS = {
    "Reserve": st.builds(
        inventory_pb2.ReserveResponse,
        lines=st.lists(
            st.builds(inventory_pb2.PricedLine, sku=TEXT, quantity=INT32, unit_price=INT64),
            max_size=3,
        ),
        total=INT64,
        currency=TEXT,
    ),
    "Release": st.builds(inventory_pb2.ReleaseResponse),
    "GetProducts": st.builds(
        inventory_pb2.GetProductsResponse,
        products=st.lists(
            st.builds(inventory_pb2.Product, sku=TEXT, name=TEXT, available=INT64), max_size=3
        ),
    ),
}


@pytest.mark.parametrize("method", REQUESTS)
@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_difference_is_found(everywhere: Everywhere, method: str, data: st.DataObject) -> None:
    request = data.draw(REQUESTS[method])
    everywhere.inventory.answer = data.draw(ANSWERS[method])
    for name, channel in everywhere.channels.items():
        everywhere.inventory.asked.clear()
        answer = getattr(InventoryServiceStub(channel), method)(request)
        assert everywhere.inventory.asked == [request], name
        assert answer == everywhere.inventory.answer, name


@pytest.mark.parametrize(
    "request_",
    [
        user_pb2.UpdateUserRequest(user_id=7),
        user_pb2.UpdateUserRequest(user_id=7, name=""),
        user_pb2.UpdateUserRequest(user_id=-1, name="", email="", address="\n"),
    ],
)
def test_absent_is_not_empty(everywhere: Everywhere, request_: Any) -> None:
    """An update that leaves a field out must not empty it."""
    for name, channel in everywhere.channels.items():
        asked: list[Any] = []
        everywhere.users.behaviour = lambda r, context, asked=asked: (
            asked.append(r) or user_pb2.UserResponse()
        )
        UserServiceStub(channel).UpdateUser(request_)
        assert asked == [request_], name
        assert asked[0].HasField("name") == request_.HasField("name"), name


def test_a_megabyte_comes_through(everywhere: Everywhere) -> None:
    large = inventory_pb2.GetProductsResponse(products=[inventory_pb2.Product(name="ü" * 500_000)])
    everywhere.inventory.answer = large
    for channel in everywhere.channels.values():
        request = inventory_pb2.GetProductsRequest()
        assert InventoryServiceStub(channel).GetProducts(request) == large


def test_who_asked_and_why_travels_along(everywhere: Everywhere) -> None:
    everywhere.inventory.answer = inventory_pb2.ReleaseResponse()
    why = Correlation("request-1", causation="event-1", actor="user-7")
    for name, channel in everywhere.channels.items():
        seen: list[Any] = []
        everywhere.users.behaviour = lambda request, context, seen=seen: (
            seen.append(correlation.active()) or user_pb2.UserResponse()
        )
        with correlated(why):
            UserServiceStub(channel).GetUser(user_pb2.GetUserRequest(user_id=7))
        assert seen == [why], name


@pytest.mark.parametrize("kind", ["rest", "grpc"])
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer eyJhbGciOiJub25lIn0.e30."],
)
def test_strangers_are_refused(everywhere: Everywhere, kind: str, authorization: str) -> None:
    asked: list[Any] = []
    everywhere.users.behaviour = lambda request, context: asked.append(request)
    with pytest.raises(grpc.RpcError) as raised, serving(kind) as channel:
        UserServiceStub(channel).GetUser(
            user_pb2.GetUserRequest(user_id=7), metadata=(("authorization", authorization),)
        )
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert asked == []


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_token_that_has_run_out_is_refused(everywhere: Everywhere, kind: str) -> None:
    old = f"Bearer {identity.token(lifetime=-identity.LEEWAY - 1)}"
    with pytest.raises(grpc.RpcError) as raised, serving(kind) as channel:
        UserServiceStub(channel).GetUser(
            user_pb2.GetUserRequest(user_id=7), metadata=(("authorization", old),)
        )
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_token_that_is_not_accepted_is_no_domain_error(
    everywhere: Everywhere, kind: str, settings: Any
) -> None:
    """While the key was being changed, the fault of the transport rejected paid orders; also one
    call further, where payments had asked users."""

    def ask_another(request: Any, context: Any) -> Any:
        metadata = (("authorization", "Bearer signed-with-another-key"),)
        return UserServiceStub(strange).UpdateUser(user_pb2.UpdateUserRequest(), metadata=metadata)

    everywhere.users.behaviour = ask_another
    request, errors = user_pb2.GetUserRequest(user_id=7), []
    with serving(kind) as strange:
        own = stubs.policed(strange, POLICY, Identity())
        for channel in (strange, own):
            with pytest.raises(grpc.RpcError) as raised:
                UserServiceStub(channel).GetUser(request, timeout=5)
            errors.append(raised.value)
        own.close()
    assert [from_error(error) for error in errors] == [None, None]
    assert {error.code() for error in errors} == {grpc.StatusCode.UNAUTHENTICATED}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_peer_that_is_away_is_unavailable(kind: str) -> None:
    address = "127.0.0.1:9"  # nobody listens at "discard"
    channel = stubs.grpc_channel(address) if kind == "grpc" else stubs.RestChannel(address)
    with pytest.raises(grpc.RpcError) as raised:
        UserServiceStub(stubs.policed(channel, POLICY, Identity())).GetUser(
            user_pb2.GetUserRequest(user_id=7), timeout=2
        )
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
