"""Sign-in by token to the admin of a deployment that has no users.

Staff enter their username, and as the password an access token of theirs from /api/auth/token. They
get a plain account here, for the admin's log and permissions. Their session ends when the token
expires: this deployment is not notified if an account is deactivated or demoted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import user_logged_in
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.dispatch import receiver
from django.http import HttpRequest
from rest_framework_simplejwt.exceptions import TokenError

from severable.api.auth import AccessToken


class StaffToken(ModelBackend):
    """A backend that accepts an access token of staff as the password."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> Any:
        try:
            token = AccessToken(password)  # type: ignore[arg-type]
        except TokenError:
            return None
        if not token.get("staff") or token.get("username") != username:
            return None
        account, _ = User.objects.update_or_create(
            username=username,
            defaults={"is_staff": True, "is_superuser": bool(token.get("superuser"))},
        )
        account.token_expires_at = datetime.fromtimestamp(  # type: ignore[attr-defined]
            token["exp"], UTC
        )
        return account if account.is_active else None


@receiver(user_logged_in, sender=User)
def end_session_with_token(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """Set a session's expiry to that of its token, which later requests do not extend."""
    request.session.set_expiry(user.token_expires_at)
