"""The other end of bench/calls.py: the shop's servers and, beside them, bare ones."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from django.conf import settings
from django.urls import path

from bench.users import Users
from protos.user_pb2_grpc import add_UserServiceServicer_to_server
from shop.wsgi import application

__all__ = ["application"]

from rest_framework.response import Response
from rest_framework.views import APIView

from severable.rpc.server.registry import registry
from severable.rpc.server.server import Server
from shop import urls


class Bare(APIView):
    """What the floor of REST is: a DRF view that does nothing."""

    authentication_classes = permission_classes = ()

    def get(self, request: Any) -> Response:
        return Response({"id": 7, "name": "Alice", "email": "alice@example.com", "active": True})


add_UserServiceServicer_to_server(Users(), registry)
urls.urlpatterns.insert(0, path("bare", Bare.as_view()))

_server = Server(settings.GRPC_LISTEN)  # kept: gRPC stops a server that is collected
_server.start()  # now that the servicer is in place

_bare = grpc.server(ThreadPoolExecutor(8))
add_UserServiceServicer_to_server(Users(), _bare)
_bare.add_insecure_port(os.environ["BARE_GRPC"])
_bare.start()
