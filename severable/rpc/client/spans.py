"""Spans of outgoing calls, if spans are exported."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, use_span

from severable.rpc.client.intercepted import Continuation
from severable.telemetry import tracing


class CallSpan(grpc.UnaryUnaryClientInterceptor):
    """Records a span for each call, from the first attempt to the outcome.

    Args:
        context: the callee.
        local: whether it runs in this process: then the span is no edge of a service map.
    """

    def __init__(self, context: str, *, local: bool) -> None:
        self._context = context
        self._kind = SpanKind.INTERNAL if local else SpanKind.CLIENT

    def intercept_unary_unary(self, continuation: Continuation, details: Any, request: Any) -> Any:
        attributes = tracing.rpc_attributes(details.method) | {"peer.service": self._context}
        span = tracing.begin(details.method[1:], self._kind, attributes)
        try:
            with use_span(span):
                outcome = continuation(details, request)
        except BaseException:
            span.end()
            raise
        outcome.add_done_callback(lambda done: _end(span, done.code()))
        return outcome


def _end(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_attribute("error.type", code.name)
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()
