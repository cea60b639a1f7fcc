"""Who may do what: every route of the public API, for everybody.

The routes of contexts are in their samples; a route that is in none of them fails.
"""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

from severable.api.idempotency import Idempotent
from tests import samples
from tests.api.routes import at, served, view_class
from tests.samples import PUBLIC, Known, MissingSample, Route

Key = tuple[str, str]

MATRIX: dict[Key, Route] = {
    ("GET", "/health/live"): Route(PUBLIC),
    ("GET", "/health/ready"): Route(PUBLIC),
    ("GET", "/metrics"): Route(PUBLIC),  # in development: tests/events/test_metrics.py
    ("GET", "/api/schema"): Route(PUBLIC),
    ("GET", "/api/docs"): Route(PUBLIC),
    **samples.collected("ROUTES"),
}
WHO = ("anonymous", "another", "owner", "staff")
READS = [key for key in MATRIX if key[0] == "GET"]


def ask(client: APIClient, key: Key, known: Known) -> Any:
    """Send what the sample of a route has."""
    method, path = key
    return getattr(client, method.lower())(at(path, known), MATRIX[key].body_for(known))


def as_another(key: Key) -> int:
    """What a customer without permissions is answered who does not own what is asked for."""
    return MATRIX[key].statuses[WHO.index("another")]


def check_complete(matrix: dict[Key, Route]) -> None:
    """Raise MissingSample for a served route without a sample, AssertionError for a sample of a
    route that is not served."""
    views = served()
    for key in sorted(views.keys() - matrix.keys()):
        what = f"{' '.join(key)} is served, and no sample says who may use it"
        raise MissingSample(views[key].__module__, what, f"add {key} to ROUTES")
    assert not matrix.keys() - views.keys(), "samples of routes that are not served"


def check_key(key: Key, view: Any) -> None:
    """Raise AssertionError if the view of a POST takes no Idempotency-Key."""
    assert issubclass(view_class(view), Idempotent), (
        f"{' '.join(key)} takes no Idempotency-Key: derive {view_class(view).__name__} from"
        " severable.api.Idempotent, or say keyless=True in its Route if it changes nothing"
    )
