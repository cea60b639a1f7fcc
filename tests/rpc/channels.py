"""Channels to servers of this process, and a servicer that does what a test tells it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from protos import user_pb2 as pb
from protos.user_pb2_grpc import UserServiceServicer
from severable import topology
from severable.rpc.client import stubs
from severable.rpc.client.rest import RestChannel
from severable.rpc.server.server import Server
from shop.wsgi import application

POLICY = topology.load(Path(__file__).parents[2] / "topology.toml").policies["users"]


class Users(UserServiceServicer):
    """Does what a test tells it."""

    def __init__(self) -> None:
        self.behaviour: Any = lambda request, context: pb.UserResponse(id=request.user_id)

    def GetUser(self, request: pb.GetUserRequest, context: Any) -> Any:
        return self.behaviour(request, context)

    UpdateUser = GetUser


@contextmanager
def listening(kind: str) -> Iterator[str]:
    """The address of a server of this process."""
    if kind == "grpc":
        server = Server("127.0.0.1:0")
        server.start()
        try:
            yield server.address
        finally:
            server.stop()
    else:
        http = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler)
        http.set_app(application)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()
            http.server_close()


@contextmanager
def serving(kind: str) -> Iterator[grpc.Channel]:
    """A channel to a server of this process that listens."""
    with listening(kind) as address:
        yield channel_to(kind, address)


def channel_to(kind: str, *addresses: str) -> grpc.Channel:
    return stubs.grpc_channel(*addresses) if kind == "grpc" else RestChannel(*addresses)


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def raising(error: Exception) -> Any:
    def behave(request: Any, context: Any) -> Any:
        raise error

    return behave
