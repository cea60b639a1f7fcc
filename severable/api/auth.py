"""Authentication and permissions by JWTs, which are verified without a call."""

from __future__ import annotations

from functools import cached_property, lru_cache
from time import time
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTStatelessUserAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import InvalidToken, TokenBackendExpiredToken
from rest_framework_simplejwt.models import TokenUser
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken

from severable.api import key_ring
from severable.config.jwk import ALGORITHM
from severable.telemetry.correlation import acting

if TYPE_CHECKING:  # DRF loads this module while it loads its views
    from rest_framework.views import APIView


LEEWAY = 5  # seconds
VERIFIED = 1024  # tokens that a process remembers


class KeyRing(TokenBackend):
    """A backend that signs with this deployment's key, and verifies with the key of the kid.

    The signature of a token is verified once, and its expiry each time.
    """

    def __init__(self, audience: str = key_ring.AUDIENCE) -> None:
        super().__init__(ALGORITHM, audience=audience, issuer=key_ring.ISSUER, leeway=LEEWAY)
        self._verified = lru_cache(VERIFIED)(super().decode)

    def encode(self, payload: dict[str, Any]) -> str:
        return key_ring.sign(payload, str(self.audience))

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """Return a token's claims. Raises TokenBackendError if it is not valid, or has expired."""
        claims: dict[str, Any] = self._verified(token, verify)
        if verify and claims.get("exp", 0) + LEEWAY <= time():
            raise TokenBackendExpiredToken("Token is expired")
        return dict(claims)

    def get_verifying_key(self, token: Any) -> Any:
        return key_ring.verifying_key(token)


ring = KeyRing()


class AccessToken(SimpleAccessToken):
    """A token with the caller and their permissions: `sub`, `permissions`, `staff`."""

    _token_backend = ring


class TokenCaller(TokenUser):
    """The caller that a token names."""

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
    """Set the authenticated user as the actor of everything that follows."""

    def authenticate(self, request: Request) -> Any:
        found = super().authenticate(request)
        if found:
            acting(f"user-{found[0].pk}")
        return found


class TokenAuthentication(Acting, JWTStatelessUserAuthentication):
    """Authentication by `Authorization: Bearer <access token>`."""

    def get_user(self, validated_token: Any) -> Any:
        if not str(validated_token.get("sub")).isdecimal():
            raise InvalidToken("Token names no user of this shop")
        return super().get_user(validated_token)


class BrowserAuthentication(Acting, SessionAuthentication):
    """Authentication by a session of the admin or the browsable API."""


def permitted(name: str) -> type[BasePermission]:
    """Return a permission class for callers whose token or account has this permission."""

    class Permitted(BasePermission):
        def has_permission(self, request: Request, view: APIView) -> bool:
            user = request.user
            return bool(user and user.is_authenticated and may(user, name))

    return Permitted


def caller_id(request: Request) -> int:
    """Return the id of the calling user. Only for views that require authentication."""
    assert request.user.pk is not None
    return int(request.user.pk)


def may(user: Any, permission: str) -> bool:
    """Return whether a caller has a permission such as "orders:ship"."""
    return permission in user.permissions
