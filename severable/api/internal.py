"""The internal REST API: one generic view serves every method that a contract annotates.

It is for other deployments, which authenticate with a service token. Superusers can also call the
methods without side effects from a browser; no other user can, since the responses contain the data
of all users.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import grpc
from django.http import HttpRequest
from django.urls import URLPattern, re_path, resolve
from google.protobuf import json_format
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from severable.api.auth import BrowserAuthentication
from severable.api.parsers import LimitedJSONParser
from severable.rpc import identity
from severable.rpc.client.rest import MAX_MESSAGE_BYTES
from severable.rpc.outcome import CallError
from severable.rpc.server.entry import authenticated_call
from severable.rpc.server.registry import registry
from severable.rpc.server.servicer_context import execute, handler_of
from severable.rpc.transcoding import HTTP_OF, Rule, error_body, from_http, rule, to_body

TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class InternalMiddleware:
    """Middleware: a call from another deployment needs no session, CSRF token or page, and skips
    all later middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        if not (request.path_info.startswith("/internal/") and "authorization" in request.headers):
            return self._get_response(request)
        request.get_host()  # raises DisallowedHost, as CommonMiddleware does
        request.resolver_match = resolve(request.path_info)
        view, args, kwargs = request.resolver_match
        response = view(request, *args, **kwargs).render()
        response["Content-Length"] = str(len(response.content))
        return response


class InternalParser(LimitedJSONParser):
    """A JSON parser with gRPC's size limit."""

    limit = MAX_MESSAGE_BYTES


class Method(APIView):
    """The view of one path, with its methods."""

    authentication_classes = [BrowserAuthentication]
    permission_classes = ()
    parser_classes = [InternalParser]
    schema = None
    rules: dict[str, Rule] = {}

    @property
    def allowed_methods(self) -> list[str]:
        return [*self.rules, "OPTIONS"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            raise exceptions.MethodNotAllowed(request.method or "")

    def perform_authentication(self, request: Request) -> None:
        """Do nothing: a session is read only if the request has no service token."""

    def call(self, request: Request, **path: str) -> Response:
        rule = self.rules[request.method or ""]
        try:
            message = self._call(rule, request, path)
        except CallError as error:
            return Response(error_body(error), status=HTTP_OF.get(error.code(), 500))
        return Response(to_body(message))

    get = post = put = patch = delete = call

    def _call(self, rule: Rule, request: Request, path: dict[str, str]) -> Any:
        metadata: Any = request.headers
        if "authorization" not in metadata and _may_browse(request):
            metadata = dict(identity.auth_metadata())
        try:
            left = _seconds(request.headers.get("grpc-timeout", ""))
            with authenticated_call(rule.method, metadata, left):
                message = from_http(rule, path, request.query_params, request.data)
                return execute(handler_of(rule.method), message, peer="rest")
        except identity.NotAuthenticated as error:
            raise CallError(error.status, str(error)) from None
        except json_format.ParseError as error:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None


def urlpatterns() -> list[URLPattern]:
    """Return the URL patterns of all methods that are served here, the most specific first."""
    by_pattern: dict[str, dict[str, Rule]] = {}
    for method in registry.methods:
        found = rule(method)
        by_pattern.setdefault(found.pattern, {})[found.verb] = found
    return [
        re_path(rf"^{pattern}\Z", Method.as_view(rules=by_pattern[pattern]))
        for pattern in sorted(
            by_pattern, key=lambda p: len(re.sub(r"\(.*?\)", "", p)), reverse=True
        )
    ]


def _may_browse(request: Request) -> bool:
    user = request.user
    return bool(request.method == "GET" and user.is_staff and user.is_superuser)


def _seconds(given: str) -> float | None:
    found = TIMEOUT.fullmatch(given)
    return int(found[1]) * UNITS[found[2]] if found else None
