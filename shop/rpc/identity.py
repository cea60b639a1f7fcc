"""Who calls an internal endpoint: every call carries a short-lived token, signed with the key
that the shop's deployments share. It also says for whom the call is made, and because of what.
"""

from __future__ import annotations

import time

import jwt
from django.conf import settings

from shop.refusal import Unauthenticated
from shop.telemetry import correlation
from shop.telemetry.correlation import Correlation

ALGORITHM = "HS256"
AUDIENCE = "shop-internal"
LIFETIME = 60.0
LEEWAY = 30.0


class NotOfThisShop(Unauthenticated):
    """The caller has not proved to be a deployment of this shop."""

    code = "not_of_this_shop"

    def __init__(self) -> None:
        super().__init__("A service token of this shop is needed.")


def token(lifetime: float = LIFETIME) -> str:
    """A token for calls made now, good for so many seconds."""
    why = correlation.current()
    claims = {
        "iss": settings.DEPLOYMENT.name,
        "aud": AUDIENCE,
        "exp": int(time.time() + lifetime),
        "correlation": why.id,
        "causation": why.causation,
        "actor": why.actor,
    }
    return jwt.encode(claims, settings.SERVICE_KEY, algorithm=ALGORITHM)


def verified(authorization: str) -> Correlation:
    """On whose behalf a call is made, by its `Bearer …`. Raises NotOfThisShop."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise NotOfThisShop
    try:
        claims = jwt.decode(
            given.strip(),
            settings.SERVICE_KEY,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.InvalidTokenError:
        raise NotOfThisShop from None
    return Correlation(
        id=str(claims.get("correlation") or correlation.current().id),
        causation=str(claims.get("causation", "")),
        actor=str(claims.get("actor", "")),
    )
