"""The keys that sign and verify tokens. Only the deployment that signs has a private one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt
from django.conf import settings
from jwt.algorithms import RSAAlgorithm
from rest_framework_simplejwt.exceptions import TokenBackendError

from severable.config.jwk import ALGORITHM, Jwk, private_key, public_jwk

ISSUER = "shop"
AUDIENCE = "shop"


class NoSigningKey(RuntimeError):
    """This deployment has no private key, so it cannot issue tokens."""


def sign(payload: dict[str, Any], audience: str = AUDIENCE) -> str:
    """Return a signed token that names its key. Raises NoSigningKey."""
    if not settings.JWT_PRIVATE_KEY:
        raise NoSigningKey("JWT_PRIVATE_KEY is not set")
    claims = payload | {"aud": audience, "iss": ISSUER}
    return jwt.encode(claims, _private_key(), algorithm=ALGORITHM, headers={"kid": _own()["kid"]})


def verifying_key(token: str | bytes) -> Any:
    """Return the public key that a token's header names. Raises TokenBackendError if unknown."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError:
        raise TokenBackendError("Token is invalid") from None
    for key in public_keys():
        if key["kid"] == kid:
            return _public_key(json.dumps(key))
    raise TokenBackendError("Token is signed with an unknown key")


@cache
def public_keys() -> tuple[Jwk, ...]:
    """Return all trusted keys: this deployment's own, and those of JWT_PUBLIC_KEYS."""
    own = [_own()] if settings.JWT_PRIVATE_KEY else []
    return (*own, *(key for key in settings.JWT_PUBLIC_KEYS if key not in own))


def complaint() -> str:
    """Return an error about the keys that names the setting, or "" if they are valid."""
    try:
        return "" if public_keys() else "JWT_PUBLIC_KEYS: it is a set of no keys"
    except ValueError as error:
        return f"JWT_PRIVATE_KEY: {error}"


@cache
def _private_key() -> Any:
    return private_key(settings.JWT_PRIVATE_KEY)


@cache
def _public_key(jwk: str) -> Any:
    return RSAAlgorithm.from_jwk(jwk)


@cache
def _own() -> Jwk:
    return public_jwk(settings.JWT_PRIVATE_KEY)
