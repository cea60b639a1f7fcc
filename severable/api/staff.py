"""The sign-in of staff, which is one for all deployments.

Staff sign in where the user accounts are. Besides the session there, they get a cookie with a
short-lived token, by which every other deployment knows them. When it expires, a deployment
redirects to the sign-in page, which redirects back with a new token if the session there still
lives (docs/decisions/0017-staff-sessions.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, Group
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import Token

from severable.api.auth import KeyRing

AUDIENCE = "shop-admin"
LIFETIME = timedelta(minutes=5)
RENEWED = timedelta(minutes=2)  # before its end a page that is opened renews the token


class StaffToken(Token):
    """A token that opens the admin of all deployments, and nothing of the API."""

    token_type = "staff"  # noqa: S105
    lifetime = LIFETIME
    _token_backend = KeyRing(AUDIENCE)

    @property
    def expires_soon(self) -> bool:
        return bool(self["exp"] < (self.current_time + RENEWED).timestamp())


def issue(response: HttpResponse, user: Any) -> None:
    """Set the cookie with a new token of a member of staff who has signed in here."""
    token = StaffToken()
    token["sub"], token["username"] = str(user.pk), user.get_username()
    token["superuser"] = user.is_superuser
    token["groups"] = list(user.groups.order_by("name").values_list("name", flat=True))
    response.set_cookie(
        settings.STAFF_COOKIE_NAME,
        str(token),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def sign_out(response: HttpResponse) -> None:
    """Delete the cookie."""
    response.delete_cookie(settings.STAFF_COOKIE_NAME, samesite="Lax")


def token_of(request: HttpRequest) -> StaffToken | None:
    """Return the token of a request, or None if there is none that is valid."""
    given = request.COOKIES.get(settings.STAFF_COOKIE_NAME)
    if not given:
        return None
    try:
        token = StaffToken(given)  # type: ignore[arg-type]
    except TokenError:
        return None
    return token if str(token.get("sub")).isdecimal() else None


class StaffAuthentication(AuthenticationMiddleware):
    """Middleware of a deployment without user accounts: the user is the one that the token names.

    They get a plain account here, for the admin's log, with the groups that the token names as far
    as they exist here.
    """

    def process_request(self, request: HttpRequest) -> None:
        request.user = SimpleLazyObject(lambda: _user_of(request))  # type: ignore[assignment]


class StaffPermissions(ModelBackend):
    """A backend for the permissions of accounts that no password opens."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:  # type: ignore[override]
        return None


def _user_of(request: HttpRequest) -> Any:
    token = token_of(request)
    return _account(token) if token else AnonymousUser()


def _account(token: StaffToken) -> Any:
    """Return the account that a token names. Its rights are those of the token: only the groups are
    stored, once per token."""
    accounts = get_user_model()._default_manager
    issued = datetime.fromtimestamp(token["iat"], UTC)
    account: Any = accounts.filter(pk=int(token["sub"])).first()
    if account is None or account.last_login is None or account.last_login < issued:
        account, _ = accounts.update_or_create(
            pk=int(token["sub"]), defaults={"username": token["username"], "last_login": issued}
        )
        account.groups.set(Group.objects.filter(name__in=token.get("groups", [])))
    account.is_active = account.is_staff = True
    account.is_superuser = bool(token.get("superuser"))
    return account
