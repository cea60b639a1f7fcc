"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse


def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 where requests can be served; 503 with what is wrong. The broker does not count:
    no request needs it."""
    try:
        wrong = _database()
    except Error as error:
        wrong = type(error).__name__
    body = {"status": "unavailable" if wrong else "ok", "checks": {"database": wrong or "ok"}}
    return JsonResponse(body, status=503 if wrong else 200)


def _database() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations missing" if missing else ""
