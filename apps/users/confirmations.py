"""Confirmed e-mail addresses: before its owner has confirmed it, an address gets one kind of mail.

That mail has a link with a token. The token is signed, expires, and names the user and the
address: it confirms no other address. It is made when the mail is written, and is in no event.
"""

from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from apps.users import queries
from apps.users.models import User
from protos.user_pb2 import EmailConfirmationRequested, EmailConfirmed
from severable.api import limits
from severable.errors import Conflict, Invalid
from severable.events import append

SALT = "users.confirmations"
MAX_AGE = timedelta(days=3)
PER_ACCOUNT, ACCOUNT_WINDOW = 5, timedelta(days=1)  # mails, whatever addresses the account had
PER_ADDRESS, ADDRESS_WINDOW = 3, timedelta(hours=1)  # mails, whatever accounts had the address


class InvalidToken(Invalid):
    code = "invalid_token"

    def __init__(self) -> None:
        super().__init__("The link is invalid or has expired. Request a new one.", field="token")


class AlreadyConfirmed(Conflict):
    code = "already_confirmed"

    def __init__(self) -> None:
        super().__init__("The e-mail address is confirmed.")


def request(user: User) -> None:
    """Request a confirmation mail, in the transaction of the change that needs it.

    Over the limit no mail is sent; the user can request one later.
    """
    with suppress(limits.TooManyAttempts):
        _request(user)


@transaction.atomic
def request_again(*, user_id: int) -> User:
    """Have a confirmation mail sent once more. Raises AlreadyConfirmed and TooManyAttempts."""
    user = queries.locked(user_id)
    if user.email_confirmed:
        raise AlreadyConfirmed
    _request(user)
    return user


def url(user: User) -> str:
    """Return the link that confirms the user's present address."""
    token = signing.dumps([user.id, user.email], salt=SALT)
    return f"{settings.PUBLIC_URL}{reverse('confirm-email')}?{urlencode({'token': token})}"


@transaction.atomic
def confirm(*, token: str) -> User:
    """Confirm the address that a token names. The same token again changes nothing.

    Raises InvalidToken, also if the user has another address by now.
    """
    try:
        user_id, email = signing.loads(token, salt=SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        raise InvalidToken from None
    user = User.objects.select_for_update().filter(id=user_id, email=email).first()
    if user is None:
        raise InvalidToken
    _confirm(user)
    return user


@transaction.atomic
def confirm_by_staff(*, user_id: int) -> None:
    """Confirm a user's address without a token."""
    _confirm(queries.locked(user_id))


@transaction.atomic
def _request(user: User) -> None:
    address = sha256(user.email.encode()).hexdigest()
    limits.count(f"confirmation user-{user.id}", PER_ACCOUNT, ACCOUNT_WINDOW)
    limits.count(f"confirmation {address}", PER_ADDRESS, ADDRESS_WINDOW)
    append(EmailConfirmationRequested(user_id=user.id), stream=user.stream)


def _confirm(user: User) -> None:
    if user.email_confirmed:
        return
    user.email_confirmed_at = timezone.now()
    user.save(update_fields=["email_confirmed_at"])
    append(EmailConfirmed(user_id=user.id, email=user.email), stream=user.stream)
