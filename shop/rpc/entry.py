"""Where calls from other deployments come in, over gRPC and REST alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import close_old_connections

from shop.rpc import deadline, identity
from shop.telemetry.correlation import correlated
from shop.telemetry.tracing import span


@contextmanager
def entered(
    method: str, *, authorization: str, traceparent: str, seconds: float | None
) -> Iterator[None]:
    """Everything inside is done for a caller who has shown that it is of this shop, in its
    trace, and in the time that it has left. Raises NotOfThisShop."""
    why = identity.verified(authorization)
    given = settings.TOPOLOGY.timeout if seconds is None else seconds
    close_old_connections()
    try:
        with correlated(why), deadline.serving_a_call(given), span(method.lstrip("/"), traceparent):
            yield
    finally:
        close_old_connections()
