"""Who calls an internal endpoint: every call carries a short-lived token, signed with the key
that the shop's deployments share. Beside it stands for whom the call is made, and because of what:
whoever has the token is believed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache

import jwt
from django.conf import settings

from shop.telemetry import correlation
from shop.telemetry.correlation import Correlation

ALGORITHM = "HS256"
AUDIENCE = "shop-internal"
LIFETIME = 60.0
RENEWED = 30.0
LEEWAY = 30.0


class NotOfThisShop(Exception):
    """The caller has not proved to be a deployment of this shop.

    A fault of the transport, not a Refusal: the context that was called has not answered.
    """

    def __init__(self) -> None:
        super().__init__("A service token of this shop is needed.")


def token(lifetime: float = LIFETIME) -> str:
    """A token for calls made now, good for so many seconds."""
    return _signed(settings.SERVICE_KEY, settings.DEPLOYMENT.name, int(time.time() + lifetime))


def shown() -> tuple[tuple[str, str], ...]:
    """The metadata by which a call shows who makes it, for whom and because of what."""
    why = correlation.current()
    ends = time.time() // RENEWED * RENEWED + LIFETIME  # the same for all calls of a while
    own = _signed(settings.SERVICE_KEY, settings.DEPLOYMENT.name, int(ends))
    told = (("x-correlation-id", why.id), ("x-causation-id", why.causation), ("x-actor", why.actor))
    return ("authorization", f"Bearer {own}"), *(pair for pair in told if pair[1])


def verified(metadata: Mapping[str, str]) -> Correlation:
    """On whose behalf a call is made, by its metadata. Raises NotOfThisShop."""
    scheme, _, given = metadata.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or _end(given, settings.SERVICE_KEY) + LEEWAY < time.time():
        raise NotOfThisShop
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
def _end(given: str, key: str) -> float:
    """When a token ends, in seconds since 1970. To check a signature takes longer than the rest
    of a call; the same token comes with many. Raises NotOfThisShop."""
    try:
        claims = jwt.decode(
            given.strip(),
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"]},
        )
    except jwt.InvalidTokenError:
        raise NotOfThisShop from None
    return float(claims["exp"])
