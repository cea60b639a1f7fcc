"""RSA keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicNumbers,
    generate_private_key,
)

ALGORITHM = "RS256"
BITS = 2048  # RFC 7518 3.3
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}  # of RSA, and symmetric keys (RFC 7518)
Jwk = dict[str, str]


def new_private_key() -> str:
    """Return a new private RSA key in PEM."""
    return (
        generate_private_key(public_exponent=65537, key_size=BITS)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def private_key(pem: str) -> RSAPrivateKey:
    """Return the key in a PEM text. Raises ValueError if it cannot sign tokens."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: it is encrypted
        raise ValueError("it is no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("it is no RSA key")
    if key.key_size < BITS:
        raise ValueError(f"it has {key.key_size} bits; {BITS} are the least")
    return key


def public_jwk(private_pem: str) -> Jwk:
    """Return the public key of a private key in PEM. Raises ValueError if it is not valid."""
    public = private_key(private_pem).public_key().public_numbers()
    key = {"kty": "RSA", "n": _encoded(public.n), "e": _encoded(public.e)}
    return key | {"kid": _thumbprint(key), "alg": ALGORITHM, "use": "sig"}


def key_set(keys: Iterable[Jwk]) -> str:
    """Return keys as a JSON Web Key Set in one line."""
    return json.dumps({"keys": list(keys)}, separators=(",", ":"))


def public_keys(jwks: str) -> tuple[Jwk, ...]:
    """Return the keys of a JSON Web Key Set, only their public parts; none if the text is empty.

    Raises ValueError if it is no set of public RSA keys, and above all if it has a private one:
    every deployment would get it, and one would publish it.
    """
    try:
        keys = json.loads(jwks)["keys"] if jwks else []
        return tuple(_public(key) for key in keys)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no JSON Web Key Set of public keys: {error}") from None


def _public(key: dict[str, Any]) -> Jwk:
    name = f"key {key.get('kid')!r}"
    private = sorted(PRIVATE & set(key))
    if private:
        raise ValueError(f"{name} has private parts: {', '.join(private)}")
    if key.get("kty") != "RSA":
        raise ValueError(f"{name} is of kind {key.get('kty')!r}, not RSA")
    public = {member: str(key[member]) for member in ("kty", "n", "e", "kid")}
    bits = RSAPublicNumbers(_decoded(public["e"]), _decoded(public["n"])).public_key().key_size
    if bits < BITS:
        raise ValueError(f"{name} has {bits} bits; {BITS} are the least")
    return public | {"alg": ALGORITHM, "use": "sig"}


def _encoded(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8))


def _decoded(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _thumbprint(jwk: Jwk) -> str:
    members = json.dumps({k: jwk[k] for k in ("e", "kty", "n")}, separators=(",", ":"))
    return _base64(hashlib.sha256(members.encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
