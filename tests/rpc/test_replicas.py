"""Several gRPC servers of one peer: calls are spread, and one that leaves is not missed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceServicer, UserServiceStub
from protos.user_pb2_grpc import add_UserServiceServicer_to_server as add_to_server
from severable.rpc import identity
from severable.rpc.client import stubs
from severable.rpc.client.policy import Identity
from severable.rpc.server.registry import registry
from severable.rpc.server.server import THREADS, Server
from tests.rpc.channels import POLICY
from tests.threads import together

pytestmark = pytest.mark.usefixtures("own_registry")


class Users(UserServiceServicer):
    """Says which server it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.UserResponse:
        return pb.UserResponse(name=self.name)


def serve(name: str, address: str = "127.0.0.1:0") -> Server:
    add_to_server(Users(name), registry)  # in place of the one before: a server keeps its own
    server = Server(address)
    server.start()
    return server


@pytest.fixture
def two() -> Iterator[list[Server]]:
    servers = [serve("first"), serve("second")]
    yield servers
    for server in servers:
        server.stop()


@contextmanager
def calling(*servers: Server) -> Iterator[Any]:
    """Call whoever answers; says who did."""
    with stubs.grpc_channel(*(server.address for server in servers)) as channel:
        get_user = UserServiceStub(stubs.policed(channel, POLICY, Identity())).GetUser
        yield lambda: get_user(pb.GetUserRequest(user_id=7)).name


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def test_calls_are_spread(two: list[Server]) -> None:
    with calling(*two) as call:
        wait_for(lambda: {call() for _ in range(4)} == {"first", "second"})
        assert Counter(call() for _ in range(20)) == {"first": 10, "second": 10}


def test_a_name_stands_for_all_its_addresses(two: list[Server]) -> None:
    """As a headless service of Kubernetes does. 127.0.0.1 is the only address of this one."""
    port = two[0].address.rpartition(":")[2]
    with stubs.grpc_channel(f"localhost:{port}") as channel:
        get_user = UserServiceStub(stubs.policed(channel, POLICY, Identity())).GetUser
        assert get_user(pb.GetUserRequest(user_id=7)).name == "first"


def test_one_that_leaves_still_serves_but_gets_nothing_new(two: list[Server]) -> None:
    """Else what is on its way when it stops is cancelled, and nobody knows whether it was done."""
    with calling(*two) as call, calling(two[0]) as call_first:
        wait_for(lambda: {call() for _ in range(4)} == {"first", "second"})
        leaving = threading.Thread(target=two[0].stop, args=(3.0,))
        leaving.start()
        wait_for(lambda: {call() for _ in range(4)} == {"second"})
        assert {call() for _ in range(50)} == {"second"}
        with grpc.insecure_channel(two[0].address) as unaware:
            answer = UserServiceStub(unaware).GetUser(
                pb.GetUserRequest(), metadata=[("authorization", f"Bearer {identity.token()}")]
            )
        assert answer.name == "first"
        leaving.join()
        with pytest.raises(grpc.RpcError):
            call_first()


def test_servers_that_come_and_go_are_not_noticed(two: list[Server]) -> None:
    with calling(*two) as call:
        wait_for(lambda: {call() for _ in range(4)} == {"first", "second"})
        closed, made, failed = threading.Event(), [], []

        def go_on_calling() -> None:
            while not closed.is_set():
                try:
                    made.append(call())
                except grpc.RpcError as error:
                    failed.append(error)

        threads = [threading.Thread(target=go_on_calling) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in (0, 1, 0, 1):
            name = two[number].address
            two[number].stop(0.5)
            made.clear()
            two[number] = serve(name, name)
            wait_for(lambda n=name: n in made)
        closed.set()
        for thread in threads:
            thread.join()
    assert failed == []


def test_watchers_take_no_thread(two: list[Server]) -> None:
    """Every client process watches: with a thread for each, sixteen would stop a server."""
    with ExitStack() as watching:
        for number in range(THREADS + 4):
            channel = watching.enter_context(
                grpc.insecure_channel(two[0].address, options=[("number", number)])
            )
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            watching.callback(watch.cancel)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        with calling(two[0]) as call:
            assert call() == "first"


def test_watchers_that_come_and_go_do_not_stop_a_server(two: list[Server]) -> None:
    """grpcio's health service, left to itself, waits with its lock held for what only the thread
    can do that waits for the lock: every rolling restart could freeze whoever was left."""
    request = health_pb2.HealthCheckRequest()

    def come_and_go(number: int) -> None:
        options = [("number", number)]
        for _ in range(40):
            with grpc.insecure_channel(two[0].address, options) as channel:
                watch = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=20)
                assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
                watch.cancel()

    together(8, come_and_go)
    with calling(two[0]) as call:
        assert call() == "first"
