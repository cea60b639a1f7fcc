"""RSA keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ImproperlyConfigured
from jwt.algorithms import RSAAlgorithm

ALGORITHM = "RS256"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # of RSA, and what is shared (RFC 7518)
Jwk = dict[str, str]


def public_jwk(private_pem: str) -> Jwk:
    """The public half of a private key in PEM."""
    private: Any = load_pem_private_key(private_pem.encode(), password=None)
    public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    key = {"kty": "RSA", "n": str(public["n"]), "e": str(public["e"])}
    return key | {"kid": _thumbprint(key), "alg": ALGORITHM, "use": "sig"}


def public_keys(name: str, jwks: str) -> tuple[Jwk, ...]:
    """Return the keys of the JSON Web Key Set that a setting holds, with their public parts alone.

    Raises ImproperlyConfigured with the setting's name for what is no set of public RSA keys, above
    all for a private one: every deployment would have it, and one would publish it.
    """
    try:
        keys = json.loads(jwks)["keys"] if jwks else []
        return tuple(_public(key) for key in keys)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImproperlyConfigured(
            f"{name} is no JSON Web Key Set of public keys: {error}"
        ) from None


def _public(key: dict[str, Any]) -> Jwk:
    private = sorted(PRIVATE & set(key))
    if private:
        raise ValueError(f"key {key.get('kid')!r} has private parts: {', '.join(private)}")
    if key.get("kty") != "RSA":
        raise ValueError(f"key {key.get('kid')!r} is of kind {key.get('kty')!r}, not RSA")
    public = {name: str(key[name]) for name in ("kty", "n", "e", "kid")}
    return public | {"alg": ALGORITHM, "use": "sig"}


def _thumbprint(jwk: Jwk) -> str:
    members = json.dumps({k: jwk[k] for k in ("e", "kty", "n")}, separators=(",", ":"))
    digest = hashlib.sha256(members.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
