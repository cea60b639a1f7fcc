"""What is given out about tokens and keys: not to caches, and no private part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from apps.users.models import User
from severable.config import jwk
from tests.processes import manage
from tests.users.samples import ROUTES, SIGN_IN

TOKEN_ROUTES = [key for key in ROUTES if key[1].startswith("/api/auth/")]
PUBLISHED = """
from severable.api import key_ring
import json
print(json.dumps(key_ring.public_keys()))
"""


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), TOKEN_ROUTES)
@pytest.mark.parametrize("body", ["good", "wrong", "invalid"])
def test_no_cache_stores_what_is_said_about_tokens(
    method: str, path: str, body: str, alice: User, anonymous: APIClient
) -> None:
    """A proxy that keeps the tokens of whoever signed in first."""
    refresh = anonymous.post("/api/auth/token", SIGN_IN).json()["refresh"]
    good = {"refresh": refresh} | SIGN_IN
    wrong = {"refresh": "garbage"} | SIGN_IN | {"password": "wrong"}
    sent: dict[str, Any] = {"good": good, "wrong": wrong, "invalid": {}}[body]
    answer = getattr(anonymous, method.lower())(path, sent)
    assert answer.status_code in {"good": (200, 204), "wrong": (401,), "invalid": (400, 422)}[body]
    assert answer["Cache-Control"] == "no-store"
    assert anonymous.get(path)["Cache-Control"] == "no-store"


def set_of(key: dict[str, Any]) -> str:
    return json.dumps({"keys": [key]})


def private_jwk() -> dict[str, Any]:
    pem = jwk.new_private_key()
    key = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(pem)
    whole = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    return whole | {"kid": jwk.public_jwk(pem)["kid"]}


def test_of_a_trusted_key_only_the_public_parts_are_published(tmp_path: Path) -> None:
    """Whatever else a key in JWT_PUBLIC_KEYS holds was published as it stands."""
    key = jwk.public_jwk(jwk.new_private_key())
    given = set_of(key | {"x-comment": "secret"})
    env = {"VAR_DIR": str(tmp_path), "JWT_PUBLIC_KEYS": given}
    own, trusted = json.loads(manage(env, "shell", "-v0", "-c", PUBLISHED).stdout)
    assert trusted == key
    assert set(own) == set(key) == {"kty", "n", "e", "kid", "alg", "use"}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (set_of(private_jwk()), "has private parts: d, dp, dq, p, q, qi"),
        (set_of({"kty": "oct", "k": "c2VjcmV0", "kid": "1"}), "has private parts: k"),
        (set_of({"kty": "EC", "kid": "1"}), "is of kind 'EC', not RSA"),
        (set_of({"kty": "RSA", "kid": "1"}), "'n'"),
        ("{", "is no JSON Web Key Set"),
        ("[]", "is no JSON Web Key Set"),
    ],
    ids=["private", "shared", "curve", "incomplete", "no JSON", "no set"],
)
def test_the_shop_does_not_start_with_other_keys(
    tmp_path: Path, value: str, complaint: str
) -> None:
    """A private key in JWT_PUBLIC_KEYS was published under /.well-known/jwks.json."""
    done = manage({"VAR_DIR": str(tmp_path), "JWT_PUBLIC_KEYS": value}, "check")
    assert done.returncode != 0
    assert "JWT_PUBLIC_KEYS" in done.stderr and complaint in done.stderr
