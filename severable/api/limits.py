"""Limits on attempts, exact also for concurrent ones.

Failed sign-ins are counted per account and client network, and per account in total; attempts per
client network. A window begins with the first attempt, and rejected attempts do not extend it:
no client is locked out forever.

An attacker who guesses an account's password locks out only the network in use, or, from many
networks, those from which the account has not signed in for 30 days.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from rest_framework import exceptions

from severable.api.address import client_address, network_of
from severable.api.models import Attempts
from severable.jobs.scheduler import periodic

ACCOUNT_WINDOW = timedelta(minutes=5)
ADDRESS_WINDOW = timedelta(minutes=1)
RATE_WINDOW = timedelta(minutes=1)
KNOWN = timedelta(days=30)

TAKE = """
    INSERT INTO severable_api_attempts AS old (key, count, ends_at) VALUES (%(key)s, 1, %(ends_at)s)
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN old.ends_at > %(now)s THEN old.count + 1 ELSE 1 END,
        ends_at = CASE WHEN old.ends_at > %(now)s THEN old.ends_at ELSE excluded.ends_at END
    RETURNING key, count, ends_at"""


class TooManyAttempts(exceptions.Throttled):
    """Too many attempts: retry after `wait` seconds."""

    default_code = "too_many_attempts"
    default_detail = "There were too many attempts."
    wait: int


@contextmanager
def signing_in(request: HttpRequest, account: str) -> Iterator[None]:
    """Wrap the check of a password. Count it as a failure first, and revert that if the block ends
    without an error. Raises TooManyAttempts."""
    count_try(request)
    network = network_of(client_address(request))
    here, everywhere = f"account {account} from {network}", f"account {account}"
    _take(here, settings.SIGN_IN_FAILURES, ACCOUNT_WINDOW)
    known = Attempts.objects.filter(key=_known(account, network), ends_at__gt=Now()).exists()
    if not known:
        _take(everywhere, settings.SIGN_IN_FAILURES_IN_ALL, ACCOUNT_WINDOW)
    yield
    Attempts.objects.filter(key=here).delete()
    if not known:
        Attempts.objects.filter(key=everywhere, count__gt=0).update(count=F("count") - 1)
    _remember(account, network)


def count_try(request: HttpRequest) -> None:
    """Count an attempt from a client's network, with a password or a token. Raises
    TooManyAttempts."""
    key = f"address {network_of(client_address(request))}"
    _take(key, settings.SIGN_IN_TRIES, ADDRESS_WINDOW)


def count(key: str, limit: int, window: timedelta) -> None:
    """Count an attempt of a key, within the caller's transaction if there is one. Raises
    TooManyAttempts."""
    _take(key, limit, window)


@periodic(seconds=60)
def purge_old_attempts() -> None:
    """Delete counters and markers that have expired."""
    Attempts.objects.filter(ends_at__lte=Now()).delete()


def take(key: str, window: timedelta) -> Attempts:
    """Count an attempt in the window of a key, in one statement, and return the counter."""
    now = timezone.now()
    given = {"key": key, "ends_at": now + window, "now": now}
    [taken] = Attempts.objects.raw(TAKE, given)
    return taken


def seconds_left(taken: Attempts) -> int:
    """Return the seconds until the window of a counter ends, rounded up."""
    return max(1, math.ceil((taken.ends_at - timezone.now()).total_seconds()))


def _take(key: str, limit: int, window: timedelta) -> None:
    taken = take(key, window)
    if taken.count > limit:
        raise TooManyAttempts(seconds_left(taken))


def _known(account: str, network: str) -> str:
    return f"known {account} from {network}"


def _remember(account: str, network: str) -> None:
    marker = Attempts(key=_known(account, network), ends_at=timezone.now() + KNOWN)
    Attempts.objects.bulk_create(
        [marker], update_conflicts=True, unique_fields=["key"], update_fields=["ends_at"]
    )
