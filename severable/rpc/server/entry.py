"""The entry of calls from other deployments, the same for gRPC and REST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings

from severable.rpc import deadline, identity
from severable.telemetry.correlation import correlated


@contextmanager
def authenticated_call(
    method: str, metadata: Mapping[str, str], seconds: float | None
) -> Iterator[None]:
    """Verify that the caller is a deployment of this shop and may call this method. Run the block
    as its actor, within its remaining `seconds`. Raises NotAuthenticated."""
    caller = identity.verified(metadata)
    if not _may_call(caller, method):
        raise identity.CallNotAllowed(caller, method)
    given = settings.TOPOLOGY.timeout if seconds is None else seconds
    with correlated(identity.on_behalf(metadata)), deadline.serving_a_call(given):
        yield


def _may_call(caller: str, method: str) -> bool:
    if caller in (settings.DEPLOYMENT.name, identity.BY_HAND):
        return True
    package = method.lstrip("/").partition(".")[0]
    return bool(settings.TOPOLOGY.may_call(settings.PLACEMENT, caller, package))
