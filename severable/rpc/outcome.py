"""The outcome of a call on this package's channels, in the shape that gRPC gives it.

gRPC's errors are also their own Call and Future: interceptors get one as the outcome of a call,
and read its result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import grpc

Metadata = Any  # pairs of names and values, as gRPC has them


class CallError(grpc.RpcError, grpc.Call, grpc.Future):  # type: ignore[type-arg]
    """A call that failed."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Metadata:
        return self._trailing

    def initial_metadata(self) -> Metadata:
        return ()

    def result(self, timeout: float | None = None) -> NoReturn:
        raise self

    def exception(self, timeout: float | None = None) -> CallError:
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return self.__traceback__

    def done(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)


class CompletedCall(CallError):
    """A call that succeeded, for callers that need the Call beside the response."""

    _code, _details, _trailing = grpc.StatusCode.OK, "", ()

    def __init__(self, response: Any) -> None:
        self._response = response

    def result(self, timeout: float | None = None) -> Any:
        return self._response

    def exception(self, timeout: float | None = None) -> Any:
        return None


class UnaryCall(grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One method of a stub on one of this package's channels. A subclass implements `call`."""

    def call(self, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        """Return the response; `timeout` is in seconds. Raises CallError."""
        raise TypeError(f"{type(self).__name__} does not implement call()")

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        return self.call(request, timeout, tuple(metadata or ()))

    def with_call(self, request: Any, *args: Any, **kwargs: Any) -> tuple[Any, grpc.Call]:
        response = self(request, *args, **kwargs)
        return response, CompletedCall(response)

    def future(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return CompletedCall(self(request, *args, **kwargs))
        except CallError as error:
            return error


class UnaryChannel(grpc.Channel):
    """The base of this package's channels. All contracts have unary methods only."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool = False,
    ) -> Any:
        raise TypeError(f"{type(self).__name__} does not implement unary_unary()")

    def _no_streams(self, method: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{method}: a contract between contexts must be unary, this method streams")

    unary_stream = stream_unary = stream_stream = _no_streams

    def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool = False) -> None:
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        pass

    def close(self) -> None:
        pass
