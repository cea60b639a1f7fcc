"""The REST channel: a grpc.Channel that calls a deployment's internal HTTP API."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import grpc
import urllib3
from google.protobuf import json_format

from severable.rpc.client.balance import Peer
from severable.rpc.outcome import CallError, Metadata, UnaryCall, UnaryChannel
from severable.rpc.transcoding import Rule, error_from, rule, to_http
from severable.topology.contracts import repeatable

CONNECTIONS = 16  # to one address; more calls wait for one to be free, within their deadline
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # as in gRPC


class RestChannel(UnaryChannel):
    """A channel to one deployment at addresses such as "127.0.0.1:8004"."""

    def __init__(self, *addresses: str, name: str = "") -> None:
        self._peer = Peer(addresses, CONNECTIONS, name)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        _registered_method: bool = False,
    ) -> RestCall:
        assert response_deserializer, "generated stubs give it"
        return RestCall(self._peer, rule(method), response_deserializer)

    def close(self) -> None:
        self._peer.close()


class RestCall(UnaryCall):
    """One method of a stub on the REST channel."""

    def __init__(
        self,
        peer: Peer,
        rule: Rule,
        deserialize: Callable[[bytes], Any],
    ) -> None:
        self._peer, self._rule, self._deserialize = peer, rule, deserialize

    def call(self, request: Any, timeout: float | None, metadata: Metadata) -> Any:
        if not isinstance(request, self._rule.request):
            raise TypeError(f"{self._rule.method} takes a {self._rule.request.__name__}")
        path, body = to_http(self._rule, request)
        if body and len(body) > MAX_MESSAGE_BYTES:
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "the request is too large")
        response = self._send(path, body, timeout, dict(metadata))
        if response.status != 200:
            raise CallError(*error_from(response.status, response.data))
        return self._parse(response.data)

    def future(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        run = contextvars.copy_context().run
        return RestFuture(_threads().submit(run, self, request, *args, **kwargs))

    def _send(
        self, path: str, body: bytes | None, timeout: float | None, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", **headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if timeout is not None:
            headers["Grpc-Timeout"] = f"{max(1, int(timeout * 1000))}m"
        try:
            with self._peer.request(
                self._rule.verb,
                path,
                repeatable=repeatable(self._rule.method),
                timeout=timeout,
                pool_timeout=timeout,
                body=body,
                headers=headers,
            ) as response:
                return response
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            code, detail = grpc.StatusCode.UNAVAILABLE, "cannot connect to the peer"
        except urllib3.exceptions.ReadTimeoutError:
            code, detail = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
        except urllib3.exceptions.EmptyPoolError:
            code, detail = grpc.StatusCode.DEADLINE_EXCEEDED, "no connection was free in time"
        except urllib3.exceptions.HTTPError as error:
            code, detail = grpc.StatusCode.UNAVAILABLE, type(error).__name__
        raise CallError(code, detail)

    def _parse(self, data: bytes) -> Any:
        message = self._deserialize(b"")
        try:
            return json_format.Parse(data, message, ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError):
            raise CallError(grpc.StatusCode.INTERNAL, "the response is malformed") from None


class RestFuture(CallError):
    """A call that runs in another thread."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__(grpc.StatusCode.UNKNOWN, "in flight")
        self._future = future

    def result(self, timeout: float | None = None) -> Any:
        return self._future.result(timeout)

    def exception(self, timeout: float | None = None) -> Any:
        return self._future.exception(timeout)

    def code(self) -> Any:
        error: Any = self._future.exception()
        return error.code() if error else grpc.StatusCode.OK

    def details(self) -> Any:
        error: Any = self._future.exception()
        return error.details() if error else ""

    def trailing_metadata(self) -> Any:
        error: Any = self._future.exception()
        return error.trailing_metadata() if error else ()

    def done(self) -> bool:
        return self._future.done()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._future.add_done_callback(lambda _: fn(self))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="rest")
