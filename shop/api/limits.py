"""How often somebody may try to sign in: exact, however many try at the same moment.

Failures are counted per account, all tries per client address, each in a window that begins
with the first one and is not made longer by what is refused: nobody is locked out for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from rest_framework import exceptions

from shop.api.address import client_address, network_of
from shop.api.models import Attempts
from shop.jobs.clock import every

ACCOUNT_WINDOW = timedelta(minutes=5)
ADDRESS_WINDOW = timedelta(minutes=1)


class TooManyAttempts(exceptions.Throttled):
    """Try again later; `wait` says in how many seconds."""

    default_code = "too_many_attempts"
    default_detail = "There were too many attempts."
    wait: int


@contextmanager
def signing_in(request: HttpRequest, account: str) -> Iterator[None]:
    """Around the check of a password. It counts before the check, as a failure, and forgets the
    account's failures where the block ends without an error. Raises TooManyAttempts."""
    count_try(request)
    key = f"account {account}"
    _take(key, settings.SIGN_IN_FAILURES, ACCOUNT_WINDOW)
    yield
    Attempts.objects.filter(key=key).delete()


def count_try(request: HttpRequest) -> None:
    """One more try from a client's address, at a password or a token. Raises TooManyAttempts."""
    key = f"address {network_of(client_address(request))}"
    _take(key, settings.SIGN_IN_TRIES, ADDRESS_WINDOW)


def count(key: str, limit: int, window: timedelta) -> None:
    """Count one more of what a key names, within the caller's transaction if there is one. Raises
    TooManyAttempts."""
    _take(key, limit, window)


@every(seconds=60)
def purge_old_attempts() -> None:
    """Forget what is past."""
    Attempts.objects.filter(ends_at__lte=Now()).delete()


def _take(key: str, limit: int, window: timedelta) -> None:
    """Count one more. Each step is one statement, which the database carries out alone."""
    row = Attempts.objects.filter(key=key)
    while True:
        if row.filter(ends_at__gt=Now(), count__lt=limit).update(count=F("count") + 1):
            return
        if row.filter(ends_at__lte=Now()).update(count=1, ends_at=Now() + window):
            return
        try:
            with transaction.atomic():
                Attempts.objects.create(key=key, ends_at=Now() + window)
            return
        except IntegrityError:
            full = row.filter(ends_at__gt=Now(), count__gte=limit).first()
        if full:
            left = (full.ends_at - timezone.now()).total_seconds()
            raise TooManyAttempts(max(1, math.ceil(left)))
        # Else somebody began a window in this very moment: there is a place in it.
