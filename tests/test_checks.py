"""`manage.py check --deploy` refuses what starts outside development and is not for a real shop."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rest_framework.test import APIClient

from apps.payments.checks import payment_provider
from severable.api import key_ring as keys
from severable.config import jwk
from tests.processes import manage

WRONG = {
    "SECRET_KEY": "django-insecure-" + "0123456789abcdefghij" * 3,
    "SERVICE_KEY": "ab" * 40,
    "SERVICE_KEY_FALLBACKS": "short",
    "JWT_PRIVATE_KEY": "junk",
    "DATABASE_URL": "sqlite:////tmp/shop.sqlite3",
    "BROKER_URL": "filesystem://",
    "CACHE_URL": "",
    "EMAIL_URL": "files",
    "DEFAULT_FROM_EMAIL": "",
    "PUBLIC_URL": "http://localhost:8000",
    "PAYMENT_PROVIDER": "apps.payments.providers.Stripe",
    "STATIC_ROOT": "/nowhere",
}


def test_the_right_settings_pass(production: dict[str, str]) -> None:
    done = manage(production, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


def test_each_wrong_setting_is_named(production: dict[str, str]) -> None:
    """All of these passed every check, and the shop failed at its first customer."""
    done = manage(production | WRONG, "check", "--deploy")
    assert done.returncode == 1
    found = [line for line in done.stderr.splitlines() if line.startswith("?: ")]
    for name in WRONG:
        assert any(f") {name}" in line for line in found), (name, found)


def test_an_email_url_that_is_none_is_named(production: dict[str, str]) -> None:
    done = manage(production | {"EMAIL_URL": "mail.example.com"}, "check")
    assert done.stderr.startswith("shop: EMAIL_URL: Invalid email schema")


def pem(key: Any) -> str:
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("junk", "no private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "1024 bits"),
    ],
)
@pytest.mark.django_db
def test_a_process_that_cannot_sign_is_not_ready(
    key: str, complaint: str, settings: Any, monkeypatch: pytest.MonkeyPatch, client: APIClient
) -> None:
    """It got its share of sign-ins, and answered all of them 500."""
    settings.JWT_PRIVATE_KEY = key
    for cached in ("_own", "public_keys"):
        monkeypatch.setattr(keys, cached, getattr(keys, cached).__wrapped__)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["keys"].startswith("JWT_PRIVATE_KEY: ")
    assert complaint in answer.json()["checks"]["keys"]


def test_a_public_key_that_can_be_factored_is_refused() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    numbers = small.public_numbers()
    key = {"kty": "RSA", "kid": "1", "n": jwk._encoded(numbers.n), "e": jwk._encoded(numbers.e)}
    with pytest.raises(ValueError, match="key '1' has 1024 bits; 2048 are the least"):
        jwk.public_keys(jwk.key_set([key]))


class Older:
    """A provider as it was before charges had a timeout."""

    def charge(self, *, key: UUID, amount: int, currency: str, token: str) -> None: ...

    def refund(self, *, key: UUID, timeout: float) -> None: ...


class Real(Older):
    """A provider that fits, in its own way."""

    def charge(self, **asked: Any) -> None: ...


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("apps.payments.providers.TestProvider", "no money moves"),
        ("nowhere.Provider", "No module named 'nowhere'"),
        ("stripe", "doesn't look like a module path"),
        ("tests.test_checks.Older", "unexpected keyword argument 'timeout'"),
        ("builtins.object", "no attribute 'charge'"),
    ],
)
def test_a_provider_that_does_not_fit_is_named(settings: Any, path: str, complaint: str) -> None:
    """The first card was the first to find out."""
    settings.PAYMENT_PROVIDER = path
    (found,) = payment_provider()
    assert complaint in found.msg


def test_a_provider_that_fits_passes(settings: Any) -> None:
    settings.PAYMENT_PROVIDER = "tests.test_checks.Real"
    assert payment_provider() == []
