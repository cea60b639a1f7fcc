"""The liveness and readiness probes."""

from __future__ import annotations

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from severable.api import key_ring
from severable.events import status
from severable.telemetry.draining import draining


def live(request: HttpRequest) -> JsonResponse:
    """Return 200 as long as the process responds."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """Return 200 if requests can be served, else 503 with the reasons. The broker is not checked:
    no request needs it."""
    try:
        wrong = _database()
    except Error as error:
        wrong = type(error).__name__
    checks = {
        "database": wrong or "ok",
        "keys": key_ring.complaint() or "ok",
        "process": "draining" if draining.is_set() else "ok",
    }
    well = set(checks.values()) == {"ok"}
    body = {"status": "ok" if well else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if well else 503)


def _database() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations missing" if missing else _positions()


def _positions() -> str:
    ahead = ", ".join(status.ahead())
    return f"positions that are ahead of this database: {ahead}; {status.RENUMBER}" if ahead else ""
