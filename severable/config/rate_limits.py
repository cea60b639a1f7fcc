"""The rate limits in the environment: requests of one caller per minute."""

from __future__ import annotations

from severable.config.environment import DEVELOPMENT, env

DEFAULTS = {"orders": 60, "sign-ups": 10, "reads": 600}
FOR_DEVELOPMENT = 100_000  # for its load tests


def rate_limits() -> dict[str, int]:
    """Read RATE_LIMIT_ORDERS, RATE_LIMIT_SIGN_UPS and RATE_LIMIT_READS."""
    return {
        name: env.int(
            f"RATE_LIMIT_{name.upper().replace('-', '_')}",
            FOR_DEVELOPMENT if DEVELOPMENT else default,
        )
        for name, default in DEFAULTS.items()
    }
