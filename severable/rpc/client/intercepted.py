"""A channel with interceptors: what `grpc.intercept_channel` does, at a third of its cost.

The interceptors are gRPC's own (`grpc.UnaryUnaryClientInterceptor`). gRPC's way builds a future
and several wrappers for every call, which would cost more than the rest of a call on the local
channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc

from severable.rpc.outcome import CompletedCall, Metadata, UnaryCall, UnaryChannel


class Details(NamedTuple):
    """The details of a call for interceptors: gRPC's ClientCallDetails. `_replace` changes some."""

    method: str
    timeout: float | None = None  # seconds
    metadata: Metadata | None = None
    credentials: Any = None
    wait_for_ready: bool | None = None
    compression: Any = None


# Runs the next interceptor, or the call itself, with the details and the request of a call. Any:
# gRPC gives its own types for both, and interceptors may not narrow them.
Continuation = Callable[[Any, Any], Any]


class InterceptedChannel(UnaryChannel):
    """A channel whose calls pass through interceptors, the first outermost."""

    def __init__(
        self, channel: grpc.Channel, interceptors: Sequence[grpc.UnaryUnaryClientInterceptor]
    ) -> None:
        self._channel, self._interceptors = channel, interceptors

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> InterceptedCall:
        return InterceptedCall(
            method, self._channel.unary_unary(method, *args, **kwargs), self._interceptors
        )

    def close(self) -> None:
        self._channel.close()


class InterceptedCall(UnaryCall):
    """One method of a stub on an intercepted channel."""

    def __init__(
        self,
        method: str,
        called: grpc.UnaryUnaryMultiCallable[Any, Any],
        interceptors: Sequence[grpc.UnaryUnaryClientInterceptor],
    ) -> None:
        self._method, self._called = method, called
        self._call: Any = self._completed
        self._begin: Any = self._started
        for interceptor in reversed(interceptors):
            intercept: Any = interceptor.intercept_unary_unary
            self._call = partial(intercept, self._call)
            self._begin = partial(intercept, self._begin)

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call(Details(self._method, *args, **kwargs), request).result()

    def future(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self._begin(Details(self._method, *args, **kwargs), request)

    def _completed(self, details: Details, request: Any) -> Any:
        try:
            return CompletedCall(self._called(request, *details[1:]))
        except grpc.RpcError as error:
            return error  # on every channel it is also a Call and a Future

    def _started(self, details: Details, request: Any) -> Any:
        return self._called.future(request, *details[1:])
