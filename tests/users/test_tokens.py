"""Forged and outdated tokens are worth nothing; the public keys verify the good ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rest_framework.test import APIClient

from apps.users.models import User
from severable.api import key_ring
from tests.conftest import token_of

pytestmark = pytest.mark.django_db

ATTACKER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    good = {
        "token_type": "access",
        "sub": "1",
        "aud": key_ring.AUDIENCE,
        "iss": key_ring.ISSUER,
        "jti": "1" * 32,
        "iat": now,
        "exp": now + timedelta(minutes=5),
        "permissions": ["users:credit"],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def own(payload: dict[str, Any], **headers: Any) -> str:
    """Signed with the shop's own key."""
    headers = {"kid": key_ring.public_keys()[0]["kid"]} | headers
    return jwt.encode(payload, key_ring._private_key(), algorithm="RS256", headers=headers)


def in_the_past() -> dict[str, Any]:
    then = datetime.now(UTC) - timedelta(hours=1)
    return {"iat": then, "exp": then + timedelta(minutes=5)}


def hs256_with_the_public_key() -> str:
    """The public key, which everybody has, taken for a shared secret."""
    public = key_ring._private_key().public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": key_ring.public_keys()[0]["kid"]}
    parts = [header, claims() | {"iat": 1, "exp": 2**33}]
    signed = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + _base64(hmac.digest(secret, signed, hashlib.sha256))).decode()


def unsigned() -> str:
    return jwt.encode(claims(), None, algorithm="none", headers={"kid": own_kid()})  # type: ignore[arg-type]


def own_kid() -> str:
    return key_ring.public_keys()[0]["kid"]


def attackers(**headers: Any) -> str:
    return jwt.encode(claims(), ATTACKER, algorithm="RS256", headers=headers)


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


FORGED: dict[str, Callable[[], str]] = {
    "garbage": lambda: "garbage",
    "three parts of garbage": lambda: "a.b.c",
    "not even text": lambda: "\xff\xfe",
    "alg none": unsigned,
    "HS256 with the public key": hs256_with_the_public_key,
    "another's key": lambda: attackers(kid=own_kid()),
    "unknown kid": lambda: attackers(kid="unknown"),
    "no kid": attackers,
    "brings its own key": lambda: attackers(
        kid=own_kid(),
        jwk=jwt.algorithms.RSAAlgorithm.to_jwk(ATTACKER.public_key(), as_dict=True),
        jku="https://attacker.example/keys",
    ),
    "wrong audience": lambda: own(claims(aud="other")),
    "no audience": lambda: own(claims(aud=None)),
    "wrong issuer": lambda: own(claims(iss="other")),
    "no issuer": lambda: own(claims(iss=None)),
    "expired": lambda: own(claims(**in_the_past())),
    "never expires": lambda: own(claims(exp=None)),
    "not yet valid": lambda: own(claims(nbf=datetime.now(UTC) + timedelta(hours=1))),
    "refresh as access": lambda: own(claims(token_type="refresh")),
    "no type": lambda: own(claims(token_type=None)),
    "nobody": lambda: own(claims(sub=None)),
    "not a user": lambda: own(claims(sub="admin")),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_token_is_refused(forged: Callable[[], str], alice: User) -> None:
    client = APIClient(raise_request_exception=False)
    answer = client.get("/api/users/me", headers={"Authorization": f"Bearer {forged()}"})

    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
    assert "Bearer" in answer["WWW-Authenticate"]


def test_the_same_claims_are_accepted_where_nothing_is_forged(alice: User) -> None:
    """Guards the test above: it must not pass because its claims are bad anyway."""
    client = APIClient()
    answer = client.get(
        "/api/users/me", headers={"Authorization": f"Bearer {own(claims(sub=str(alice.id)))}"}
    )

    assert answer.status_code == 200


def test_a_token_that_was_accepted_before_still_expires(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is verified once in a process; with that it must not be good for ever."""
    token = own(claims(sub=str(alice.id)))
    client, header = APIClient(), {"Authorization": f"Bearer {token}"}
    assert client.get("/api/users/me", headers=header).status_code == 200

    monkeypatch.setattr("severable.api.auth.time", lambda: time() + 310)
    assert client.get("/api/users/me", headers=header).status_code == 401


def test_the_published_keys_verify_a_token_and_hold_nothing_private(alice: User) -> None:
    published = APIClient().get("/.well-known/jwks.json").json()
    token = token_of(alice)
    key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]

    assert jwt.decode(token, key, algorithms=["RS256"], audience="shop")["sub"] == str(alice.id)
    assert set(published["keys"][0]) == {"kty", "n", "e", "kid", "alg", "use"}
