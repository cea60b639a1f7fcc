"""Payment providers, which charge cards. `settings.PAYMENT_PROVIDER` names one."""

import time
from functools import cache
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from apps.payments.models import TestCharge
from severable.errors import OutcomeUnknown, PaymentRequired
from severable.rows import insert_new


class Declined(PaymentRequired):
    """The payment was declined."""

    code = "payment_declined"


class CardDeclined(Declined):
    """The provider declined the card."""


class Provider(Protocol):
    """The interface of a payment provider."""

    def charge(self, *, key: UUID, amount: int, currency: str, token: str, timeout: float) -> None:
        """Charge a card, once for a key. Raises CardDeclined, also if the key was refunded before,
        or OutcomeUnknown after at most `timeout` seconds."""

    def refund(self, *, key: UUID, timeout: float) -> None:
        """Refund the charge of a key. If there is none, a later charge of the key is declined.
        Raises OutcomeUnknown after at most `timeout` seconds."""


class TestProvider:
    """The built-in provider, which moves no money.

    It accepts tok_visa, tok_slow (after 3 seconds) and tok_unknown (the charge succeeds, but the
    first response is lost). It declines all other tokens.
    """

    __test__ = False  # its name matches pytest's pattern, but it is no test

    def charge(self, *, key: UUID, amount: int, currency: str, token: str, timeout: float) -> None:
        if token == "tok_slow" and not TestCharge.objects.filter(key=key).exists():
            _wait(3.0, timeout)
        good = token in ("tok_visa", "tok_slow", "tok_unknown")
        state = TestCharge.State.CHARGED if good else TestCharge.State.DECLINED
        charge = TestCharge(key=key, amount=amount, state=state)
        if not insert_new(charge):
            charge = TestCharge.objects.get(key=key)
        elif token == "tok_unknown":
            raise OutcomeUnknown("the response was lost")
        if charge.state != TestCharge.State.CHARGED:
            raise CardDeclined("The card was declined.")

    def refund(self, *, key: UUID, timeout: float) -> None:
        refunded = {"state": TestCharge.State.REFUNDED}
        TestCharge.objects.update_or_create(key=key, defaults=refunded)


@cache
def provider() -> Provider:
    """Return the provider of this shop."""
    made: Provider = import_string(settings.PAYMENT_PROVIDER)()
    return made


def _wait(needed: float, timeout: float) -> None:
    time.sleep(min(needed, timeout))
    if timeout < needed:
        raise OutcomeUnknown(f"no response within {timeout:.1f} s")
