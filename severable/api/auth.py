"""Who calls, and what they may: JWTs that are verified here without asking anybody."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken

from severable.api import key_ring
from severable.config.jwk import ALGORITHM
from severable.telemetry.correlation import acting

if TYPE_CHECKING:  # DRF loads this module while it loads its views
    from rest_framework.views import APIView


class KeyRing(TokenBackend):
    """Signs with this deployment's key and names it; verifies with whichever key a token names."""

    def __init__(self) -> None:
        super().__init__(ALGORITHM, audience=key_ring.AUDIENCE, issuer=key_ring.ISSUER, leeway=5)

    def encode(self, payload: dict[str, Any]) -> str:
        return key_ring.sign(payload)

    def get_verifying_key(self, token: Any) -> Any:
        return key_ring.verifying_key(token)


ring = KeyRing()


class AccessToken(SimpleAccessToken):
    """Says who the caller is and what they may: `sub`, `permissions`, `staff`."""

    _token_backend = ring


class TokenCaller(TokenUser):
    """The caller, as the token has it."""

    @cached_property
    def id(self) -> int:  # type: ignore[override]
        return int(self.token["sub"])

    @cached_property
    def permissions(self) -> list[str]:
        return list(self.token.get("permissions", []))

    @cached_property
    def is_staff(self) -> bool:
        return bool(self.token.get("staff", False))


class Acting(BaseAuthentication):
    """What is done from here on is done for whoever was found."""

    def authenticate(self, request: Request) -> Any:
        found = super().authenticate(request)
        if found:
            acting(f"user-{found[0].pk}")
        return found


class TokenAuthentication(Acting, JWTStatelessUserAuthentication):
    """`Authorization: Bearer <access token>`."""

    def get_user(self, validated_token: Any) -> Any:
        if not str(validated_token.get("sub")).isdecimal():
            raise InvalidToken("Token names no user of this shop")
        return super().get_user(validated_token)


class BrowserAuthentication(Acting, SessionAuthentication):
    """Whoever has signed in to the admin or the browsable API."""


def permitted(name: str) -> type[BasePermission]:
    """A permission class: callers whose token, or whose account, carries this permission."""

    class Permitted(BasePermission):
        def has_permission(self, request: Request, view: APIView) -> bool:
            user = request.user
            return bool(user and user.is_authenticated and may(user, name))

    return Permitted


def caller_id(request: Request) -> int:
    """The id of the user who calls. Only for views that let nobody else in."""
    assert request.user.pk is not None
    return int(request.user.pk)


def may(user: Any, permission: str) -> bool:
    """Whether a caller carries a permission such as "orders:ship"."""
    return permission in user.permissions
