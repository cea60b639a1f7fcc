"""Domain errors: the business errors that a context may return, and their conversions.

A domain error is a result, not a fault: it is final, and nothing was changed. The classes below
define the HTTP status and the gRPC code of each kind. A context subclasses the kind that fits,
beside the function that raises it:

    class InsufficientStock(Conflict):
        code = "insufficient_stock"
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar
from uuid import UUID

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

# For contexts; the package itself uses the rest, too.
__all__ = [
    "Conflict",
    "DomainError",
    "Exists",
    "Forbidden",
    "Invalid",
    "NotFound",
    "OutcomeUnknown",
    "PaymentRequired",
    "Unauthenticated",
    "from_error",
    "uuid_of",
]


class OutcomeUnknown(Exception):
    """No response: the call may have been executed, or still be. Retry it with the same key."""


class DomainError(Exception):
    """A business error.

    `code` is stable and for programs; `detail` is for users; `facts` are short strings that a
    program may need, such as the name of the wrong field.
    """

    code: ClassVar[str] = "refused"
    http: ClassVar[HTTPStatus]
    grpc: ClassVar[grpc.StatusCode]

    def __init__(self, detail: str, **facts: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Invalid(DomainError):
    """The request is invalid in every state."""

    code = "invalid"
    http = HTTPStatus.UNPROCESSABLE_ENTITY
    grpc = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(DomainError):
    """The object does not exist, or the caller may not know of it."""

    code = "not_found"
    http = HTTPStatus.NOT_FOUND
    grpc = grpc.StatusCode.NOT_FOUND


class Exists(DomainError):
    """Another object has this key."""

    code = "already_exists"
    http = HTTPStatus.CONFLICT
    grpc = grpc.StatusCode.ALREADY_EXISTS


class Conflict(DomainError):
    """The current state does not allow this."""

    code = "conflict"
    http = HTTPStatus.CONFLICT
    grpc = grpc.StatusCode.FAILED_PRECONDITION


class PaymentRequired(DomainError):
    """A payment is missing, or was declined."""

    code = "payment_required"
    http = HTTPStatus.PAYMENT_REQUIRED
    grpc = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(DomainError):
    """The caller is not authenticated."""

    code = "unauthenticated"
    http = HTTPStatus.UNAUTHORIZED
    grpc = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(DomainError):
    """The caller is authenticated, but not authorized."""

    code = "forbidden"
    http = HTTPStatus.FORBIDDEN
    grpc = grpc.StatusCode.PERMISSION_DENIED


KINDS: dict[str, type[DomainError]] = {kind.__name__: kind for kind in DomainError.__subclasses__()}


def kind_of(error: DomainError) -> str:
    """Return the name in KINDS of a domain error's kind."""
    return next(name for name, kind in KINDS.items() if isinstance(error, kind))


def rebuild(kind: str, code: str, detail: str, **facts: str) -> DomainError:
    """Return a domain error from its stored or sent parts. `kind` is a name in KINDS."""
    error = KINDS[kind](detail, **facts)
    error.code = code  # type: ignore[misc]  # the original class is in another context
    return error


def uuid_of(text: str, field: str) -> UUID:
    """Return a UUID from its text. Raises Invalid, which names the field."""
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("This is not a UUID.", field=field) from None


def to_status(error: DomainError) -> status_pb2.Status:
    """Return a domain error in gRPC's richer error model (google.rpc.Status with an ErrorInfo)."""
    info = error_details_pb2.ErrorInfo(
        reason=error.code, domain=kind_of(error), metadata=error.facts
    )
    packed = AnyMessage()
    packed.Pack(info)
    number: int = error.grpc.value[0]
    return status_pb2.Status(code=number, message=error.detail, details=[packed])


def to_grpc(error: DomainError) -> grpc.Status:
    """Return a domain error for `context.abort_with_status`."""
    status: grpc.Status = rpc_status.to_status(to_status(error))
    return status


def from_error(error: grpc.RpcError) -> DomainError | None:
    """Return the domain error of a failed call, or None if the call failed otherwise.

    None means that the outcome is unknown: the call may have been executed.
    """
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain in KINDS:
            return rebuild(info.domain, info.reason, status.message, **info.metadata)
    return None
