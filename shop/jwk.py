"""RSA keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm

ALGORITHM = "RS256"
Jwk = dict[str, str]


def public_jwk(private_pem: str) -> Jwk:
    """The public half of a private key in PEM."""
    private: Any = load_pem_private_key(private_pem.encode(), password=None)
    public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    key = {"kty": "RSA", "n": str(public["n"]), "e": str(public["e"])}
    return key | {"kid": _thumbprint(key), "alg": ALGORITHM, "use": "sig"}


def _thumbprint(jwk: Jwk) -> str:
    members = json.dumps({k: jwk[k] for k in ("e", "kty", "n")}, separators=(",", ":"))
    digest = hashlib.sha256(members.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
