"""The local channel: a grpc.Channel that runs the servicer in this process and thread.

Requests and responses are still serialized and parsed, so that what works here also works over a
network.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import grpc

from severable.rpc import deadline
from severable.rpc.outcome import CallError, Metadata, UnaryCall, UnaryChannel
from severable.rpc.server.servicer_context import execute, handler_of


class LocalCall(UnaryCall):
    """One method of a stub on the local channel."""

    def __init__(
        self,
        method: str,
        serialize: Callable[[Any], bytes],
        deserialize: Callable[[bytes], Any],
    ) -> None:
        self._method, self._serialize, self._deserialize = method, serialize, deserialize

    def call(self, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        handler = handler_of(self._method)
        started = monotonic()
        received = handler.request_deserializer(self._serialize(request))
        with deadline.serving_a_call(timeout):
            response = execute(handler, received, metadata)
        if timeout is not None and monotonic() - started > timeout:
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        return self._deserialize(handler.response_serializer(response))


class LocalChannel(UnaryChannel):
    """A channel to the servicers of this process."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool = False,
    ) -> LocalCall:
        assert request_serializer and response_deserializer, "generated stubs give both"
        return LocalCall(method, request_serializer, response_deserializer)
