"""Responses that are sent from memory."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException

from severable.api.csp import DATA
from severable.api.errors import PROBLEM, problem
from severable.http.head import Head, Scope
from severable.telemetry import tracing
from severable.telemetry.draining import draining

Headers = list[tuple[bytes, bytes]]
PART = 65_536
# Django's middleware sets the same headers.
SECURITY = {
    "Content-Security-Policy": DATA,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HOP_BY_HOP = {"connection", "transfer-encoding"}  # dropped, because the body is buffered


@dataclass(frozen=True)
class Answer:
    """A response with its body in memory. A client that reads slowly occupies no thread."""

    status: int
    headers: Headers
    body: bytes = b""

    async def send(self, scope: Scope, send: Any) -> None:
        """Send the response in parts, each when the client has read the previous one. A 204 has no
        Content-Length (RFC 9110 8.6), and HEAD gets no body."""
        dropped = b"content-length" if self.status == 204 else b""
        headers = [pair for pair in self.headers if pair[0].lower() != dropped]
        if draining.is_set():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" or self.status in (204, 304) else self.body
        for start in range(0, len(body) or 1, PART):
            part, more = body[start : start + PART], len(body) > start + PART
            await send({"type": "http.response.body", "body": part, "more_body": more})


def json_answer(status: int, body: Any, head: Head, **headers: str) -> Answer:
    """Return a response in JSON with the request's id, without Django."""
    encoded = json.dumps(body).encode()
    given = {
        "Content-Type": "application/json",
        "Content-Length": str(len(encoded)),
        "X-Request-ID": head.request_id,
        **SECURITY,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Answer(status, [(n.encode(), v.encode()) for n, v in given.items()], encoded)


def problem_of(error: Exception, head: Head, **headers: str) -> Answer:
    """Return an error as problem+json, as Django's views do."""
    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
    detail = "An internal error occurred. It has been logged."
    if isinstance(error, APIException):
        status, code = HTTPStatus(error.status_code), str(error.get_codes())
        detail = str(error.detail)
    wait = getattr(error, "wait", None)
    if wait:
        headers["Retry_After"] = str(wait)
    traced = bool(tracing.trace_id())
    with nullcontext() if traced else tracing.span("refused", head.traceparent):
        body = problem(status, code, detail)
    return json_answer(status, body, head, Content_Type=PROBLEM, **headers)
