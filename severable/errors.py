"""Business refusals: the answers "no" that a context may give, and how they travel.

A refusal is an answer, not a fault: it is final, and it has had no effect. The classes
below are the one table that gives each kind its HTTP status and its gRPC code. A context
subclasses the kind that fits, beside the function that raises it:

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


class OutcomeUnknown(Exception):
    """No answer: what was asked may have happened, or may yet. Ask again, with the same key."""


class DomainError(Exception):
    """A business "no".

    `code` is stable and meant for programs; the text is meant for people; `facts` are
    short strings that a program may need, such as the field that was wrong.
    """

    code: ClassVar[str] = "refused"
    http: ClassVar[HTTPStatus]
    grpc: ClassVar[grpc.StatusCode]

    def __init__(self, detail: str, **facts: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Invalid(DomainError):
    """What was asked makes no sense, whatever the state."""

    code = "invalid"
    http = HTTPStatus.UNPROCESSABLE_ENTITY
    grpc = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(DomainError):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"
    http = HTTPStatus.NOT_FOUND
    grpc = grpc.StatusCode.NOT_FOUND


class Exists(DomainError):
    """Somebody else has taken this key."""

    code = "already_exists"
    http = HTTPStatus.CONFLICT
    grpc = grpc.StatusCode.ALREADY_EXISTS


class Conflict(DomainError):
    """Not in the present state."""

    code = "conflict"
    http = HTTPStatus.CONFLICT
    grpc = grpc.StatusCode.FAILED_PRECONDITION


class Declined(DomainError):
    """The money was not given."""

    code = "payment_declined"
    http = HTTPStatus.PAYMENT_REQUIRED
    grpc = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(DomainError):
    """The caller has not shown who they are."""

    code = "unauthenticated"
    http = HTTPStatus.UNAUTHORIZED
    grpc = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(DomainError):
    """The caller is known, and may not."""

    code = "forbidden"
    http = HTTPStatus.FORBIDDEN
    grpc = grpc.StatusCode.PERMISSION_DENIED


KINDS: dict[str, type[DomainError]] = {kind.__name__: kind for kind in DomainError.__subclasses__()}


def kind_of(refusal: DomainError) -> str:
    """The name in KINDS that a refusal belongs to."""
    return next(name for name, kind in KINDS.items() if isinstance(refusal, kind))


def rebuild(kind: str, code: str, detail: str, **facts: str) -> DomainError:
    """A refusal again, from what was stored or sent. `kind` is a name in KINDS."""
    refusal = KINDS[kind](detail, **facts)
    refusal.code = code  # type: ignore[misc]  # the class that had it lives in another context
    return refusal


def uuid_of(text: str, field: str) -> UUID:
    """An id that came as text. Raises Invalid, which names the field."""
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("This is not a UUID.", field=field) from None


def to_status(refusal: DomainError) -> status_pb2.Status:
    """A refusal as the richer error model of gRPC (google.rpc.Status with an ErrorInfo)."""
    info = error_details_pb2.ErrorInfo(
        reason=refusal.code, domain=kind_of(refusal), metadata=refusal.facts
    )
    packed = AnyMessage()
    packed.Pack(info)
    number: int = refusal.grpc.value[0]
    return status_pb2.Status(code=number, message=refusal.detail, details=[packed])


def to_grpc(refusal: DomainError) -> grpc.Status:
    """A refusal for `context.abort_with_status`."""
    status: grpc.Status = rpc_status.to_status(to_status(refusal))
    return status


def from_error(error: grpc.RpcError) -> DomainError | None:
    """The refusal that a failed call carries, or None where the call failed otherwise.

    None means that the outcome is unknown: the call may have had its effect.
    """
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain in KINDS:
            return rebuild(info.domain, info.reason, status.message, **info.metadata)
    return None
