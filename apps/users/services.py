"""Commands on users."""

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from uuid_utils.compat import uuid7

from apps.users import confirmations, queries
from apps.users.models import CreditEntry, Preferences, Session, User
from protos.user_pb2 import (
    AccessChanged,
    CreditChanged,
    PreferencesChanged,
    UserRegistered,
    UserUpdated,
)
from severable.errors import Exists, PaymentRequired
from severable.events import append


class Taken(Exists):
    code = "taken"

    def __init__(self, field: str) -> None:
        super().__init__(f"This {field} is taken.", field=field)


class CreditShort(PaymentRequired):
    code = "payment_declined"

    def __init__(self, balance: int) -> None:
        super().__init__("There is not enough store credit.", balance=str(balance))


class PaymentReturned(PaymentRequired):
    code = "payment_returned"

    def __init__(self) -> None:
        super().__init__("This payment has been refunded.")


def register(
    *,
    registration: UUID,
    username: str,
    password: str,
    name: str,
    email: str,
    address: str,
    email_confirmed: bool = False,
) -> User:
    """Create an account. A repeated registration returns the same user.

    `email_confirmed` is for code that has verified the owner of the address.
    """
    user = User(
        registration=registration,
        username=username,
        name=name,
        email=email.lower(),
        email_confirmed_at=timezone.now() if email_confirmed else None,
        address=address,
    )
    user.set_password(password)
    return _add(user, same=User.objects.filter(registration=registration))


def create_customer(*, name: str, email: str, address: str) -> User:
    """Open an account without a password, for a contract's caller. The e-mail is the key."""
    given = {"name": name, "email": email.lower(), "address": address}
    user = User(username=f"customer-{uuid7()}", **given)
    user.set_unusable_password()
    return _add(user, same=User.objects.filter(**given))


def update_profile(
    *, user_id: int, name: str | None = None, email: str | None = None, address: str | None = None
) -> User:
    """Change the given fields. Appends no event if nothing changes.

    A new e-mail address is unconfirmed.
    """
    given = {"name": name, "email": email.lower() if email else email, "address": address}
    with transaction.atomic():
        user = queries.locked(user_id)
        changes: dict[str, Any] = {
            k: v for k, v in given.items() if v is not None and v != getattr(user, k)
        }
        if "email" in changes:
            changes["email_confirmed_at"] = None
        if changes:
            _change(user, changes)
            append(
                UserUpdated(
                    user_id=user.id, name=user.name, email=user.email, address=user.address
                ),
                stream=user.stream,
            )
        if "email" in changes:
            confirmations.request(user)
    return user


@transaction.atomic
def set_access(
    *, user_id: int, is_active: bool, is_staff: bool, is_superuser: bool, granted: list[str]
) -> None:
    """Set a user's permissions. Issued access tokens keep the old ones until they expire."""
    user = queries.locked(user_id)
    wanted = {
        "is_active": is_active,
        "is_staff": is_staff,
        "is_superuser": is_superuser,
        "granted": granted,
    }
    if all(getattr(user, name) == value for name, value in wanted.items()):
        return
    for name, value in wanted.items():
        setattr(user, name, value)
    user.save(update_fields=list(wanted))
    append(
        AccessChanged(
            user_id=user.id,
            active=is_active,
            staff=is_staff,
            superuser=is_superuser,
            granted=granted,
        ),
        stream=user.stream,
    )


@transaction.atomic
def set_preferences(*, user_id: int, order_mails: bool, account_mails: bool) -> Preferences:
    """Set the mails that a user gets."""
    user = queries.locked(user_id)
    wanted = {"order_mails": order_mails, "account_mails": account_mails}
    preferences, _ = Preferences.objects.update_or_create(user=user, defaults=wanted)
    append(PreferencesChanged(user_id=user_id, **wanted), stream=user.stream)
    return preferences


@transaction.atomic
def set_password(*, user_id: int, password: str) -> User:
    """Set a user's password and end the sessions that began with the old one."""
    user = queries.locked(user_id)
    user.set_password(password)
    user.save(update_fields=["password"])
    Session.objects.filter(user=user, ended_at=None).update(ended_at=timezone.now())
    return user


@transaction.atomic
def change_credit(*, key: str, user_id: int, amount: int, reason: str) -> User:
    """Give store credit, or take it if the amount is negative."""
    user = queries.locked(user_id)
    if not CreditEntry.objects.filter(key=key).exists():
        _enter(user, key, amount, reason)
    return user


@transaction.atomic
def debit_credit(*, payment_id: str, user_id: int, amount: int) -> User:
    """Take store credit for a payment, unless the payment has been taken back."""
    user = queries.locked(user_id)
    if CreditEntry.objects.filter(key=_return_key(payment_id)).exists():
        raise PaymentReturned
    if not CreditEntry.objects.filter(key=_debit_key(payment_id)).exists():
        _enter(user, _debit_key(payment_id), -amount, "payment")
    return user


@transaction.atomic
def return_credit(*, payment_id: str, user_id: int) -> User:
    """Return the credit that a payment has taken, if any. The payment can take none after that."""
    user = queries.locked(user_id)
    if not CreditEntry.objects.filter(key=_return_key(payment_id)).exists():
        taken = CreditEntry.objects.filter(key=_debit_key(payment_id)).first()
        _enter(user, _return_key(payment_id), -taken.amount if taken else 0, "refund")
    return user


def _add(user: User, same: QuerySet[User]) -> User:
    try:
        with transaction.atomic():
            user.save()
            Preferences.objects.create(user=user)
            append(
                UserRegistered(user_id=user.id, name=user.name, email=user.email),
                stream=user.stream,
            )
            if not user.email_confirmed:
                confirmations.request(user)
    except IntegrityError:
        known = same.first()
        if known:
            return known
        email_taken = User.objects.filter(email__iexact=user.email).exists()
        raise Taken("email" if email_taken else "username") from None
    return user


def _change(user: User, changes: dict[str, Any]) -> None:
    try:
        with transaction.atomic():
            User.objects.filter(id=user.id).update(**changes)
    except IntegrityError:
        raise Taken("email") from None
    user.refresh_from_db()


def _enter(user: User, key: str, amount: int, reason: str) -> None:
    if user.credit + amount < 0:
        raise CreditShort(user.credit)
    CreditEntry.objects.create(key=key, user=user, amount=amount, reason=reason)
    if amount:
        user.credit += amount
        user.save(update_fields=["credit"])
        append(
            CreditChanged(user_id=user.id, amount=amount, balance=user.credit, reason=reason),
            stream=user.stream,
        )


def _debit_key(payment_id: str) -> str:
    return f"payment-{payment_id}"


def _return_key(payment_id: str) -> str:
    return f"return-{payment_id}"
