"""gRPC over HTTP and JSON: the transcoding that `google.api.http` annotations define.

The rules are those of google/api/http.proto: fields named in the path's template are taken from
the path, with `body: "*"` all others from the body, without a body all others from the query.
Errors are google.rpc.Status in JSON, under the HTTP status that its code maps to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import grpc
from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # noqa: F401  # JSON must know its details

from severable.topology import contracts

Code = grpc.StatusCode
VERBS = ("get", "post", "put", "patch", "delete")
VARIABLE = re.compile(r"\{(\w+)\}")
DETAILS = "grpc-status-details-bin"

# The HTTP status of each code, as google/rpc/code.proto defines it.
HTTP_OF = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ABORTED: 409,
    Code.ALREADY_EXISTS: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
CODES = {code.value[0]: code for code in Code}

# The code of a response without a google.rpc.Status in it, which no servicer sent.
CODE_OF = {
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Code.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: Code.UNIMPLEMENTED,
    HTTPStatus.METHOD_NOT_ALLOWED: Code.UNIMPLEMENTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.RESOURCE_EXHAUSTED,
    HTTPStatus.TOO_MANY_REQUESTS: Code.RESOURCE_EXHAUSTED,
    HTTPStatus.GATEWAY_TIMEOUT: Code.DEADLINE_EXCEEDED,
    HTTPStatus.INTERNAL_SERVER_ERROR: Code.INTERNAL,
}


@dataclass(frozen=True)
class Rule:
    """The mapping of a method to HTTP."""

    method: str  # "/user.UserService/GetUser"
    verb: str  # "GET"
    template: str  # "/internal/users/{user_id}"
    body: bool
    variables: tuple[str, ...]
    request: type[Message]

    @property
    def pattern(self) -> str:
        """Return the template as Django's regular expression, with a group for each variable."""
        parts = VARIABLE.split(self.template.lstrip("/"))
        return "".join(
            rf"(?P<{part}>[\s\S]*)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )


@cache
def rule(method: str) -> Rule:
    """Return the rule of a full method name. Raises LookupError if its contract has none."""
    descriptor = contracts.method(method)
    if descriptor is None:
        raise LookupError(f"no contract has {method}")
    return _rule(method, descriptor)


def _rule(method: str, descriptor: MethodDescriptor) -> Rule:
    http = descriptor.GetOptions().Extensions[annotations_pb2.http]
    for verb in VERBS:
        template = getattr(http, verb)
        if template:
            variables = tuple(VARIABLE.findall(template))
            request = message_factory.GetMessageClass(descriptor.input_type)
            return Rule(method, verb.upper(), template, http.body == "*", variables, request)
    raise LookupError(f"{method} has no google.api.http annotation")


def to_http(rule: Rule, request: Message) -> tuple[str, bytes | None]:
    """Return the path with its query, and the body, that carry a request."""
    fields = _to_dict(request)
    path = VARIABLE.sub(lambda m: _segment(rule, fields.pop(m[1], None), m[1]), rule.template)
    if rule.body:
        return path, json.dumps(fields).encode()
    query = urlencode([*_flat(fields)])
    return (f"{path}?{query}" if query else path), None


def from_http(rule: Rule, path: Mapping[str, str], query: Any, body: Any) -> Message:
    """Return the request of an HTTP call. Raises json_format.ParseError, which names the field."""
    fields: dict[str, Any] = {}
    if rule.body:
        if not isinstance(body, dict):
            raise json_format.ParseError("the body must be a JSON object")
        fields = body
    else:
        for name in query:
            _put(fields, rule, name, query.getlist(name))
    fields = fields | {name: _typed(rule, name, value) for name, value in path.items()}
    return json_format.ParseDict(fields, rule.request(), ignore_unknown_fields=True)


def to_body(message: Message) -> dict[str, Any]:
    """Return a response in JSON, with every field."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def error_body(error: Any) -> dict[str, Any]:
    """Return a failed call as google.rpc.Status, in JSON."""
    packed = dict(error.trailing_metadata() or ()).get(DETAILS)
    status = (
        status_pb2.Status.FromString(packed)
        if packed
        else status_pb2.Status(code=error.code().value[0], message=error.details() or "")
    )
    return json_format.MessageToDict(status)


def error_from(http_status: int, body: bytes) -> tuple[Code, str, tuple[tuple[str, bytes], ...]]:
    """Return code, details and trailing metadata of a failed call, from its response."""
    try:
        status = json_format.Parse(body, status_pb2.Status(), ignore_unknown_fields=True)
        code = CODES[status.code]
        if code is not Code.OK:
            trailing = ((DETAILS, status.SerializeToString()),) if status.details else ()
            return code, status.message, trailing
    except (json_format.ParseError, KeyError, UnicodeDecodeError):
        pass
    return CODE_OF.get(HTTPStatus(http_status), Code.UNAVAILABLE), f"HTTP {http_status}", ()


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _segment(rule: Rule, value: Any, name: str) -> str:
    if value is None:  # not set: its default
        value = rule.request.DESCRIPTOR.fields_by_name[name].default_value
    return quote(str(value), safe="")


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _flat(one, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", json.dumps(one) if isinstance(one, bool) else str(one)


def _put(fields: dict[str, Any], rule: Rule, name: str, values: list[str]) -> None:
    *parents, last = name.split(".")
    descriptor: Any = rule.request.DESCRIPTOR
    target = fields
    for parent in parents:
        if parent not in descriptor.fields_by_name:
            return
        descriptor = descriptor.fields_by_name[parent].message_type
        target = target.setdefault(parent, {})
    field = descriptor.fields_by_name.get(last)
    if field is not None:
        converted = [_converted(field, value) for value in values]
        target[last] = converted if field.is_repeated else converted[-1]


def _typed(rule: Rule, name: str, value: str) -> Any:
    return _converted(rule.request.DESCRIPTOR.fields_by_name[name], value)


def _converted(field: Any, value: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"true": True, "false": False}.get(value, value)
    return value
