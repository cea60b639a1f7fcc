"""gRPC's health service: whether this server takes calls. To be asked, or to be watched.

grpcio's own waits, with its lock held, for a message to be sent, by the very thread that waits for
that lock where another watcher has just gone (grpc/grpc#43403): the server then stands still.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health(health_pb2_grpc.HealthServicer):
    """Serving, until `leave`: the server as a whole ("") and each of its services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._status = HealthCheckResponse.SERVING
        self._watchers: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Not serving from now on. Returns when all who watch have been told."""
        with self._lock:
            self._status = HealthCheckResponse.NOT_SERVING
            watchers = list(self._watchers)
        for tell in watchers:
            tell()

    def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return self._answer(request)

    def Watch(self, request: HealthCheckRequest, context: Any, send: Callable[..., None]) -> None:
        """Takes no thread: returns at once, and `send` sends what there is to say until the
        watcher goes."""
        one_at_a_time = threading.Lock()

        def tell() -> None:
            with one_at_a_time:
                send(self._answer(request))

        def forget() -> None:
            with self._lock:
                self._watchers.discard(tell)

        with self._lock:
            self._watchers.add(tell)
        if not context.add_callback(forget):  # it has gone already
            forget()
        tell()

    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    def _answer(self, request: HealthCheckRequest) -> HealthCheckResponse:
        known = request.service in self._services
        return HealthCheckResponse(
            status=self._status if known else HealthCheckResponse.SERVICE_UNKNOWN
        )
