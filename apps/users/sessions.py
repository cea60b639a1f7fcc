"""Signing in: access tokens that live five minutes, refresh tokens that are good for once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.contrib.auth import authenticate
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import RefreshToken as SimpleRefreshToken

from apps.users.models import Session, User
from severable.api import AccessToken, ring
from severable.errors import Unauthenticated


class BadCredentials(Unauthenticated):
    code = "bad_credentials"

    def __init__(self) -> None:
        super().__init__("There is no active account with this name and password.")


class BadToken(Unauthenticated):
    code = "token_not_valid"

    def __init__(self) -> None:
        super().__init__("The refresh token is invalid or has expired.")


class RefreshToken(SimpleRefreshToken):
    """Names its session. Its id is good once."""

    _token_backend = ring


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str


def sign_in(*, username: str, password: str) -> Tokens:
    user = authenticate(username=username, password=password)
    if not isinstance(user, User):
        raise BadCredentials
    refresh = RefreshToken()
    session = Session(user=user, token_id=refresh["jti"], expires_at=_end(refresh))
    session.save(force_insert=True)
    return _tokens(refresh, session)


def refresh_tokens(*, refresh: str) -> Tokens:
    """Exchange a refresh token for new tokens. A token that was exchanged before ends its session,
    because another party must have a copy of it."""
    old = _verified(refresh)
    new = RefreshToken()
    mine = Session.objects.filter(id=UUID(old["sid"]), ended_at=None)
    # Compare and set: of any number of trades at the same time, one wins. Not user__is_active: the
    # join would hide the token in a subquery, which PostgreSQL does not evaluate again.
    traded = mine.filter(token_id=old["jti"], user__in=User.objects.filter(is_active=True)).update(
        token_id=new["jti"], expires_at=_end(new)
    )
    if not traded:
        mine.update(ended_at=timezone.now())
        raise BadToken
    # Not by `mine`: one that lost may have ended the session by now.
    return _tokens(new, Session.objects.select_related("user").get(id=UUID(old["sid"])))


def sign_out(*, refresh: str) -> None:
    """End the session of a refresh token."""
    end(session_id=UUID(_verified(refresh)["sid"]))


def end(*, session_id: UUID) -> None:
    """End a session. Its access tokens run out by themselves."""
    Session.objects.filter(id=session_id, ended_at=None).update(ended_at=timezone.now())


def _verified(refresh: str) -> RefreshToken:
    try:
        token = RefreshToken(refresh)  # type: ignore[arg-type]
    except TokenError:
        raise BadToken from None
    if "sid" not in token:
        raise BadToken
    return token


def _tokens(refresh: RefreshToken, session: Session) -> Tokens:
    user = session.user
    refresh["sub"] = str(user.id)
    refresh["sid"] = str(session.id)
    access = AccessToken()
    access["sub"] = str(user.id)
    access["username"] = user.username
    access["permissions"] = user.permissions
    access["staff"] = user.is_staff
    access["superuser"] = user.is_superuser
    return Tokens(access=str(access), refresh=str(refresh))


def _end(refresh: RefreshToken) -> datetime:
    return datetime.fromtimestamp(refresh["exp"], UTC)
