"""Generation of secrets, which needs no settings: `python -m severable.keys`, `manage.py jwks`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from secrets import token_hex

from severable.config import jwk

PASSWORDS = [
    *("SECRET_KEY", "SERVICE_KEY", "METRICS_TOKEN", "POSTGRES_PASSWORD"),
    *("RABBITMQ_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"),
]
# For a trial. In production, set a payment provider, a mail server and a host name.
CHOICES = {
    "COMPOSE_PROFILES": "split",
    "PAYMENT_PROVIDER": "apps.payments.providers.TestProvider",
    "EMAIL_URL": "files",
    "DEFAULT_FROM_EMAIL": "shop@localhost",
    "PUBLIC_URL": "http://localhost:8000",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the public keys of this deployment, a new key, or a file of new secrets."""
    parser = argparse.ArgumentParser(prog="severable.keys", description=main.__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--new", action="store_true", help="a new key that signs tokens, as .env")
    choice.add_argument("--env", action="store_true", help="all secrets of a new shop, as .env")
    given = parser.parse_args(arguments)
    sys.stdout.write(environment() if given.env else signing_key() if given.new else trusted())


def environment() -> str:
    """Return a complete .env for docker-compose.yml, with new secrets that are safe in URLs."""
    lines = [f"{name}={value}" for name, value in CHOICES.items()]
    lines += [f"{name}={token_hex(32)}" for name in PASSWORDS]
    return "\n".join(lines) + "\n" + signing_key()


def signing_key() -> str:
    """Return JWT_PRIVATE_KEY and JWT_PUBLIC_KEYS of a new key.

    The quotes are for shells, docker compose and .env, which would remove those of the JSON.
    """
    private = jwk.new_private_key()
    one_line = private.strip().replace("\n", "\\n")
    public = jwk.key_set([jwk.public_jwk(private)])
    return f"JWT_PRIVATE_KEY='{one_line}'\nJWT_PUBLIC_KEYS='{public}'\n"


def trusted() -> str:
    """Return the JSON Web Key Set that other deployments need as JWT_PUBLIC_KEYS."""
    from severable.config.environment import env, secret

    private = secret("JWT_PRIVATE_KEY", jwk.new_private_key)
    if not private:
        sys.exit("shop: JWT_PRIVATE_KEY is not set; --new makes one")
    try:
        own, more = jwk.public_jwk(private), jwk.public_keys(env.str("JWT_PUBLIC_KEYS", ""))
    except ValueError as error:
        sys.exit(f"shop: JWT_PRIVATE_KEY or JWT_PUBLIC_KEYS: {error}")
    return jwk.key_set([own, *(key for key in more if key != own)]) + "\n"


if __name__ == "__main__":
    main()
