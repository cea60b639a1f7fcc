"""The rate limits in the environment: requests of one caller per minute."""

from __future__ import annotations

from collections.abc import Mapping

from severable.config.environment import DEVELOPMENT, env

FOR_DEVELOPMENT = 100_000  # for its load tests


def rate_limits(defaults: Mapping[str, int]) -> dict[str, int]:
    """Return each limit from its variable, such as RATE_LIMIT_SIGN_UPS for "sign-ups".

    `defaults` are requests per minute; in development a limit that is not set is not reached.
    """
    return {
        name: env.int(
            f"RATE_LIMIT_{name.upper().replace('-', '_')}",
            FOR_DEVELOPMENT if DEVELOPMENT else default,
        )
        for name, default in defaults.items()
    }
