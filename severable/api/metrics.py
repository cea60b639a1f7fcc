"""The view `/metrics`, for Prometheus."""

from __future__ import annotations

from http import HTTPStatus

from django.conf import settings
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from severable.api.errors import problem, problem_answer
from severable.rpc import deadline

SCRAPE_SECONDS = 5  # Prometheus waits for 10


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics of this process and its deployment; 401 without METRICS_TOKEN, which
    development does not need, and 503 if the database is down."""
    if not _may_read(request):
        detail = "Authorization: Bearer <METRICS_TOKEN> is needed."
        body = problem(HTTPStatus.UNAUTHORIZED, "not_authenticated", detail)
        return problem_answer(body, {"WWW-Authenticate": "Bearer"})
    try:
        with deadline.within(SCRAPE_SECONDS):
            return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
    except Error as error:
        detail = f"The database does not respond: {type(error).__name__}."
        return problem_answer(problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail))


def _may_read(request: HttpRequest) -> bool:
    if not settings.METRICS_TOKEN:
        return bool(settings.DEVELOPMENT)
    given = request.headers.get("Authorization", "")
    return constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}")
