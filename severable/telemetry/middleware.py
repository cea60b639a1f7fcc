"""Middleware: the id of a request, which its answer, log lines and events carry, and probes."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import resolve
from uuid_utils.compat import uuid7

from severable.telemetry.correlation import Correlation, correlated

PROBES = {"/health/live", "/health/ready", "/metrics"}
ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{8,64}")


def request_id(given: str) -> str:
    """The id that a caller gave, if it is sane, or a new one."""
    return given if ACCEPTABLE.fullmatch(given) else str(uuid7())


class RequestId:
    """Takes X-Request-ID from the caller where it is sane, and answers with it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        own = request_id(request.headers.get("X-Request-ID", ""))
        # Django leaves the decoded path here, where WSGI, and so OpenTelemetry, wants Latin-1.
        path = request.META.get("PATH_INFO", "")
        request.META["PATH_INFO"] = path.encode().decode("latin-1")
        with correlated(Correlation(id=own)):
            response = self._get_response(request)
        response["X-Request-ID"] = own
        return response


class Probes:
    """Answer health checks and metrics before anything looks at the host or the scheme.

    A kubelet and Prometheus send the address of a pod as Host, which ALLOWED_HOSTS cannot name.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in PROBES:
            return self._get_response(request)
        view, args, kwargs = resolve(request.path_info)
        response: HttpResponse = view(request, *args, **kwargs)
        return response
