"""The execution of a call without gRPC's own server: in this process, or over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from severable.rpc import deadline
from severable.rpc.outcome import CallError, Metadata
from severable.rpc.server.registry import registry, run


class _Aborted(Exception):
    """Raised to leave the servicer, as gRPC's own abort does."""


def handler_of(method: str) -> Any:
    """Return the handler of a full method name. Raises CallError, UNIMPLEMENTED, if none has it."""
    handler = registry.find(method)
    if handler is None:
        raise CallError(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not served here")
    return handler


def execute(handler: Any, request: Any, metadata: Metadata = (), peer: str = "local") -> Any:
    """Return the response of a servicer's method. Raises CallError if its status is not OK."""
    context = ServicerContext(metadata, peer)
    try:
        response = run(handler.unary_unary, request, context)
    except _Aborted:
        raise context.error() from None
    if context.status[0] is not grpc.StatusCode.OK:
        raise context.error()
    return response


class ServicerContext(grpc.ServicerContext):
    """gRPC's ServicerContext for a call that came through this process or over REST."""

    def __init__(self, metadata: Metadata, peer: str) -> None:
        self._metadata, self._peer = metadata, peer
        self.status = (grpc.StatusCode.OK, "")
        self.trailing: Metadata = ()

    def error(self) -> CallError:
        """Return the status as the error that the caller gets."""
        code, details = self.status
        return CallError(code, details, self.trailing)

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> Any:
        return deadline.remaining()

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self.status = (code, details)
        raise _Aborted

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self.trailing = tuple(status.trailing_metadata or ())
        self.abort(status.code, status.details)

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status = (code, self.status[1])

    def set_details(self, details: str) -> None:
        self.status = (self.status[0], details)

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self.trailing = tuple(trailing_metadata)

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        pass

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> dict[str, Any]:
        return {}

    def is_active(self) -> bool:
        return not deadline.passed()

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False
