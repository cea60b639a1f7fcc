"""gRPC's health service, which clients check or watch: whether this server takes calls.

grpcio's own has a deadlock (grpc/grpc#43403): it waits, with its lock held, for a message to be
sent by a thread that waits for the same lock if another watcher has just disconnected.
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
    """The status of the server ("") and of each of its services: SERVING until `leave`."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._status = HealthCheckResponse.SERVING
        self._watchers: set[Callable[[], None]] = set()
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Set the status to NOT_SERVING. Returns when all watchers are notified."""
        with self._lock:
            self._status = HealthCheckResponse.NOT_SERVING
            watchers = list(self._watchers)
        for notify in watchers:
            notify()

    def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return self._response(request)

    def Watch(self, request: HealthCheckRequest, context: Any, send: Callable[..., None]) -> None:
        """Send the status now and when it changes, until the watcher disconnects. Return at once
        and use no thread."""
        one_at_a_time = threading.Lock()

        def notify() -> None:
            with one_at_a_time:
                send(self._response(request))

        def remove() -> None:
            with self._lock:
                self._watchers.discard(notify)

        with self._lock:
            self._watchers.add(notify)
        if not context.add_callback(remove):  # it has disconnected already
            remove()
        notify()

    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]

    def _response(self, request: HealthCheckRequest) -> HealthCheckResponse:
        known = request.service in self._services
        return HealthCheckResponse(
            status=self._status if known else HealthCheckResponse.SERVICE_UNKNOWN
        )
