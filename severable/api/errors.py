"""Errors as application/problem+json (RFC 9457), with a `code` for programs and the trace id."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import grpc
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from severable.api.parsers import TooLarge
from severable.errors import DomainError, OutcomeUnknown, from_error
from severable.telemetry.tracing import trace_id

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
RETRY_AFTER = "2"
NOT_PAGES = ("/api/", "/internal/", "/.well-known/")  # what is below these paths is for programs

# The database is down, or has ended the session. Other database errors are bugs.
DATABASE_DOWN = (OperationalError, InterfaceError, InternalError)

Problem = dict[str, Any]


class Unprocessable(exceptions.APIException):
    """The request is well-formed, but cannot be processed."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_code = "unprocessable"


def problem(status: int, code: str, detail: str, **more: Any) -> Problem:
    """Return the body of an error response."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
        "trace_id": trace_id(),
        **more,
    }


def problem_answer(body: Problem, headers: dict[str, str] | None = None) -> JsonResponse:
    """Return a problem as a response, for code outside of DRF's views."""
    return JsonResponse(body, status=body["status"], content_type=PROBLEM, headers=headers)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return an exception in a view as a problem; None for a plain 500. This is DRF's hook."""
    set_rollback()
    known = _known(error)
    if known is None:
        return None
    body, headers = known
    response = Response(body, status=body["status"], headers=headers)
    renderer = getattr(context["request"], "accepted_renderer", None)
    if renderer is None or renderer.format == "json":
        response.content_type = PROBLEM
    return response


def is_domain_error(error: Exception) -> bool:
    """Return whether an error is a domain error, of this context or of one that it called."""
    return isinstance(error, DomainError) or (
        isinstance(error, grpc.RpcError) and from_error(error) is not None
    )


def domain_error_problem(error: DomainError, **more: Any) -> Problem:
    """Return a domain error as the body of a response."""
    return problem(error.http, error.code, error.detail, **error.facts, **more)


def _known(error: Exception) -> tuple[Problem, dict[str, str]] | None:
    if isinstance(error, grpc.RpcError):
        error = from_error(error) or error
    if isinstance(error, DomainError):
        unauthorized = error.http == HTTPStatus.UNAUTHORIZED
        challenge = {"WWW-Authenticate": 'Bearer realm="api"'} if unauthorized else {}
        return domain_error_problem(error), challenge
    if isinstance(error, exceptions.ValidationError):
        body = problem(HTTPStatus.BAD_REQUEST, "invalid", "The request is not valid.")
        return body | {"errors": list(_fields(error.detail))}, {}
    if isinstance(error, RequestDataTooBig):
        error = TooLarge()
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        codes = error.get_codes()
        code = codes if isinstance(codes, str) else error.default_code
        return problem(error.status_code, code, _text(error.detail)), _headers(error)
    if isinstance(error, (grpc.RpcError, OutcomeUnknown, *DATABASE_DOWN)):
        return _unavailable(error)
    return None


def _unavailable(error: BaseException) -> tuple[Problem, dict[str, str]]:
    log.warning("answered 503: %s: %s", type(error).__name__, error)
    body = problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "Try again in a moment.")
    return body, {"Retry-After": RETRY_AFTER}


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    challenge, wait = getattr(error, "auth_header", None), getattr(error, "wait", None)
    if challenge:
        headers["WWW-Authenticate"] = challenge
    if wait:
        headers["Retry-After"] = str(int(wait))
    return headers


def _text(detail: Any) -> str:
    return str(detail.get("detail", detail)) if isinstance(detail, dict) else str(detail)


def _fields(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Yield DRF's nested errors, flat: {"field": "items[0].quantity", "code": …, "detail": …}."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            if isinstance(name, int):
                yield from _fields(inner, f"{path}[{name}]")
            elif name == "non_field_errors":
                yield from _fields(inner, path)
            else:
                yield from _fields(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list) and any(isinstance(inner, (dict, list)) for inner in detail):
        for index, inner in enumerate(detail):
            if inner:
                yield from _fields(inner, f"{path}[{index}]")
    elif isinstance(detail, list):
        for inner in detail:
            yield from _fields(inner, path)
    else:
        yield {"field": path, "code": getattr(detail, "code", "invalid"), "detail": str(detail)}


def wants_html(request: HttpRequest) -> bool:
    """Return whether a browser asks for a page outside of the API."""
    is_api = request.path_info.startswith(NOT_PAGES)
    return not is_api and "text/html" in request.headers.get("Accept", "")


def error_response(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """Return an error as a page for a browser, or as a problem."""
    return _shown(request, problem(status, code, detail))


def _shown(
    request: HttpRequest, body: Problem, headers: dict[str, str] | None = None
) -> HttpResponse:
    if not wants_html(request):
        return problem_answer(body, headers)
    shown = render_to_string("severable/error.html", body)
    return HttpResponse(shown, status=body["status"], headers=headers)


def _page(status: HTTPStatus, code: str, detail: str) -> Any:
    def view(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        return error_response(request, status, code, detail)

    return view


bad_request = _page(HTTPStatus.BAD_REQUEST, "bad_request", "The request cannot be understood.")
forbidden = _page(HTTPStatus.FORBIDDEN, "forbidden", "This is not allowed.")
not_found = _page(HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the response to an exception outside of DRF's views, such as in middleware.

    Django calls this while it handles the exception, but does not pass it.
    """
    error = sys.exc_info()[1]
    if isinstance(error, DATABASE_DOWN):
        return _shown(request, *_unavailable(error))
    detail = "An internal error occurred. It has been logged."
    return error_response(request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)
