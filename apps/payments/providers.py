"""Providers that charge cards. `settings.PAYMENT_PROVIDER` names one."""

import time
from functools import cache
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.module_loading import import_string

from apps.payments.models import TestCharge
from severable.errors import OutcomeUnknown, PaymentRequired


class Declined(PaymentRequired):
    """The payment was declined."""

    code = "payment_declined"


class CardDeclined(Declined):
    """The provider declined the card."""


class Provider(Protocol):
    """The interface of a payment provider."""

    def charge(self, *, key: UUID, amount: int, currency: str, token: str, timeout: float) -> None:
        """Take money from a card, once for a key. Raises CardDeclined, or OutcomeUnknown after
        at most `timeout` seconds. A key that was refunded before is declined."""

    def refund(self, *, key: UUID, timeout: float) -> None:
        """Give back what was taken under a key. Where nothing was, nothing will be. Raises
        OutcomeUnknown after at most `timeout` seconds."""


class TestProvider:
    """The built-in provider: no money moves.

    It knows tok_visa (good), tok_declined, tok_slow (good, after 3 seconds) and tok_unknown
    (charges, but its first answer is lost). All other tokens are declined.
    """

    __test__ = False  # not a test, whatever its name

    def charge(self, *, key: UUID, amount: int, currency: str, token: str, timeout: float) -> None:
        known = TestCharge.objects.filter(key=key).first()
        if known is None and token == "tok_slow":
            _wait(3.0, timeout)
        charge, first = (known, False) if known else self._charge(key, amount, token)
        if first and token == "tok_unknown":
            raise OutcomeUnknown("the answer was lost")
        if charge.state != TestCharge.State.CHARGED:
            raise CardDeclined("The card was declined.")

    def refund(self, *, key: UUID, timeout: float) -> None:
        refunded = {"state": TestCharge.State.REFUNDED}
        TestCharge.objects.update_or_create(key=key, defaults=refunded)

    def _charge(self, key: UUID, amount: int, token: str) -> tuple[TestCharge, bool]:
        good = token in ("tok_visa", "tok_slow", "tok_unknown")
        state = TestCharge.State.CHARGED if good else TestCharge.State.DECLINED
        try:
            with transaction.atomic():
                return TestCharge.objects.create(key=key, amount=amount, state=state), True
        except IntegrityError:
            return TestCharge.objects.get(key=key), False


@cache
def provider() -> Provider:
    """The provider of this shop."""
    made: Provider = import_string(settings.PAYMENT_PROVIDER)()
    return made


def _wait(needed: float, timeout: float) -> None:
    time.sleep(min(needed, timeout))
    if timeout < needed:
        raise OutcomeUnknown(f"no answer within {timeout:.1f} s")
