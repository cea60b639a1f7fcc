"""How staff sign in to the admin of a deployment that has no users: with a token.

The name is theirs, the password an access token from /api/auth/token that says that they are
staff. They get a plain account here, for the admin's log and permissions. Their session ends when
the token does: this deployment does not hear that an account was deactivated or demoted.
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
    """Accepts an access token of staff for a password."""

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
    """Give a session the end of the token that opened it, which later requests do not move."""
    request.session.set_expiry(user.token_expires_at)
