"""Where calls from other deployments come in, over gRPC and REST alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings

from shop.rpc import deadline, identity
from shop.telemetry.correlation import correlated


@contextmanager
def entered(metadata: Mapping[str, str], seconds: float | None) -> Iterator[None]:
    """Everything inside is done for a caller who has shown by its metadata that it is of this
    shop, and in the time that it has left. Raises NotOfThisShop."""
    why = identity.verified(metadata)
    given = settings.TOPOLOGY.timeout if seconds is None else seconds
    with correlated(why), deadline.serving_a_call(given):
        yield
