"""The identity of callers of internal endpoints.

Every call carries a short-lived token, signed with the key that the shop's deployments share. It
names the calling deployment. Other metadata name the actor and the cause of the call; they are
trusted if the token is valid.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar

import grpc
import jwt
from django.conf import settings

from severable.telemetry import correlation
from severable.telemetry.correlation import Correlation

ALGORITHM = "HS256"
AUDIENCE = "shop-internal"
LIFETIME = 60.0
RENEWED = 30.0
LEEWAY = 300.0  # seconds by which clocks may differ
BY_HAND = "manage.py service_token"  # in tokens for manual calls, which belong to no deployment


class NotAuthenticated(Exception):
    """A call that is rejected before it reaches its method.

    A fault of the transport, not a domain error: the called context has not processed it.
    """

    status: ClassVar[grpc.StatusCode]


class InvalidServiceToken(NotAuthenticated):
    """The caller has not proved that it is a deployment of this shop."""

    status = grpc.StatusCode.UNAUTHENTICATED

    def __init__(self) -> None:
        super().__init__("A service token of this shop is needed.")


class CallNotAllowed(NotAuthenticated):
    """None of the caller's contexts may make this call."""

    status = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self, caller: str, method: str) -> None:
        super().__init__(
            f"By `calls` in topology.toml, no context of deployment {caller!r} may call {method}."
        )


def token(lifetime: float = LIFETIME, caller: str = "") -> str:
    """Return a token that is valid for `lifetime` seconds and names `caller`, by default this
    deployment."""
    caller = caller or settings.DEPLOYMENT.name
    return _signed(settings.SERVICE_KEY, caller, int(time.time() + lifetime))


def auth_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata with the caller, the actor and the cause of a call."""
    why = correlation.current()
    ends = time.time() // RENEWED * RENEWED + LIFETIME  # the same for RENEWED seconds
    own = _signed(settings.SERVICE_KEY, settings.DEPLOYMENT.name, int(ends))
    pairs = (
        ("x-correlation-id", why.id),
        ("x-causation-id", why.causation),
        ("x-actor", why.actor),
    )
    return ("authorization", f"Bearer {own}"), *(pair for pair in pairs if pair[1])


def verified(metadata: Mapping[str, str]) -> str:
    """Return the deployment that a call's metadata name. Raises InvalidServiceToken."""
    scheme, _, given = metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidServiceToken
    claims = _claims(given.strip(), (settings.SERVICE_KEY, *settings.SERVICE_KEY_FALLBACKS))
    if claims["exp"] + LEEWAY < time.time():
        raise InvalidServiceToken
    return str(claims["iss"])


def on_behalf(metadata: Mapping[str, str]) -> Correlation:
    """Return the actor and the cause of a call. Verify the caller first."""
    return Correlation(
        id=metadata.get("x-correlation-id") or correlation.current().id,
        causation=metadata.get("x-causation-id", ""),
        actor=metadata.get("x-actor", ""),
    )


@lru_cache(maxsize=16)
def _signed(key: str, deployment: str, ends: int) -> str:
    claims = {"iss": deployment, "aud": AUDIENCE, "exp": ends}
    return jwt.encode(claims, key, algorithm=ALGORITHM)


@lru_cache(maxsize=256)
def _claims(given: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the claims of a token that is signed with one of the keys. Raises InvalidServiceToken.

    Cached: to verify a signature takes longer than the rest of a call, and many calls carry the
    same token. So the token may have expired since.
    """
    for key in keys:
        with suppress(jwt.InvalidTokenError):
            claims: dict[str, Any] = jwt.decode(
                given,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
            return claims
    raise InvalidServiceToken
