"""The gRPC server of a deployment: its contexts' contracts, health and reflection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import grpc
from django.conf import settings
from django.db import close_old_connections
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import SpanKind

from severable.rpc import identity
from severable.rpc.server import health
from severable.rpc.server.entry import authenticated_call
from severable.rpc.server.registry import registry, run
from severable.telemetry.tracing import rpc_attributes, span

log = logging.getLogger(__name__)

THREADS = 16
WAITING = 48  # calls that may wait for a thread; more are rejected at once
WATCHING = 256  # clients that watch the health, with a call each that takes no thread
GRACE_SECONDS = 10.0
OPEN_TO_ALL = "/grpc.health.v1.Health/"


class Server:
    """The gRPC server: listens on an address, serves the registry, and shuts down gracefully."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._health = health.Health(registry.services)
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="grpc"),
            interceptors=[AuthInterceptor()],
            maximum_concurrent_rpcs=THREADS + WAITING + WATCHING,
        )
        registry.serve_on(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*registry.services, health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self) -> None:
        """Listen. Raises RuntimeError if the address is in use."""
        host = self.address.rpartition(":")[0]
        self.address = f"{host}:{self._add_port()}"
        self._server.start()
        log.info("gRPC at %s", self.address)

    def _add_port(self) -> int:
        if settings.TLS is None:
            return self._server.add_insecure_port(self.address)
        cert, key, ca = settings.TLS.pem()
        return self._server.add_secure_port(
            self.address,
            grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=True),
        )

    def stop(self, drain: float = 0.0) -> None:
        """Set the health to NOT_SERVING, serve for `drain` more seconds, let calls in flight finish
        for GRACE_SECONDS, and stop.

        Clients that watch the health (`severable.rpc.client.stubs.grpc_channel`) send no more calls
        once they are notified. A call that reaches a stopped server is cancelled, and its client
        cannot know whether it was executed.
        """
        self._health.leave()
        sleep(drain)
        self._server.stop(GRACE_SECONDS).wait()


class AuthInterceptor(grpc.ServerInterceptor):
    """Authenticate callers as deployments of this shop, and run calls as every channel does."""

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(OPEN_TO_ALL):
            return handler
        metadata = dict(handler_call_details.invocation_metadata)
        if handler.unary_unary is None:  # reflection, which streams
            return handler if _is_of_this_shop(metadata) else _rejecting(handler)
        return grpc.unary_unary_rpc_method_handler(
            _authenticated(method, handler.unary_unary, metadata),
            handler.request_deserializer,
            handler.response_serializer,
        )


def _authenticated(method: str, behavior: Any, metadata: dict[str, Any]) -> Callable[..., Any]:
    def call(request: Any, context: Any) -> Any:
        close_old_connections()
        try:
            parent = metadata.get("traceparent", "")
            with (
                span(method[1:], parent, SpanKind.SERVER, rpc_attributes(method)),
                authenticated_call(method, metadata, _seconds(context)),
            ):
                return run(behavior, request, context)
        except identity.NotAuthenticated as error:
            context.abort(error.status, str(error))
        finally:
            close_old_connections()

    return call


def _seconds(context: Any) -> float | None:
    # Without a deadline gRPC returns a very long time, not None.
    left: float | None = context.time_remaining()
    return left if left is not None and left < 3600 else None


def _is_of_this_shop(metadata: dict[str, Any]) -> bool:
    try:
        identity.verified(metadata)
    except identity.InvalidServiceToken:
        return False
    return True


def _rejecting(handler: Any) -> Any:
    def reject(requests: Any, context: Any) -> Any:
        context.abort(identity.InvalidServiceToken.status, str(identity.InvalidServiceToken()))

    return grpc.stream_stream_rpc_method_handler(
        reject, handler.request_deserializer, handler.response_serializer
    )
