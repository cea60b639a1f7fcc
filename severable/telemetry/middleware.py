"""Gives every request an id, which its answer, its log lines and its events carry."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from uuid_utils.compat import uuid7

from severable.telemetry.correlation import Correlation, correlated

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
