"""The public keys of the access tokens that a deployment accepts."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from severable.config import jwk
from severable.config.environment import DEVELOPMENT, env, required, secret


def trusted_keys(issues_tokens: bool) -> tuple[jwk.Jwk, ...]:
    """Return the keys in JWT_PUBLIC_KEYS. A deployment that does not issue tokens itself needs
    some; in development it gets the key of the one that does.

    Raises ImproperlyConfigured if the text is not a JSON Web Key Set of public keys.
    """
    text = env.str("JWT_PUBLIC_KEYS", "")
    if DEVELOPMENT and not (issues_tokens or text):
        private = secret("JWT_PRIVATE_KEY", jwk.new_private_key)
        text = jwk.key_set([jwk.public_jwk(private)])
    elif not issues_tokens:
        required("JWT_PUBLIC_KEYS", "", "manage.py jwks prints them in the deployment of the users")
    try:
        return jwk.public_keys(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"JWT_PUBLIC_KEYS: {error}") from None
