"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

import threading

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

leaving = threading.Event()  # this process was told to end, and still serves


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
    checks = {
        "database": wrong or "ok",
        "keys": _keys() or "ok",
        "process": "leaving" if leaving.is_set() else "ok",
    }
    well = set(checks.values()) == {"ok"}
    body = {"status": "ok" if well else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if well else 503)


def _database() -> str:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations missing" if missing else _positions()


def _keys() -> str:
    from shop.api import keys  # it comes after telemetry

    return keys.complaint()


def _positions() -> str:
    from shop.events import status  # it comes after telemetry

    ahead = ", ".join(status.ahead())
    return f"positions that it has not given: {ahead}; {status.RENUMBER}" if ahead else ""
