"""The customer's tokens, in cookies that no script can read."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from time import monotonic, sleep, time
from typing import Any, TypedDict

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

ACCESS, REFRESH = "shop_access", "shop_refresh"
EARLY_SECONDS = 15  # before it expires, an access token is replaced
EXCHANGE_SECONDS = 15.0  # that an exchange may take
KEEP_SECONDS = 60  # for requests that were sent with the old refresh token
FAILED_SECONDS = 1  # after which another request tries again
POLL_SECONDS = 0.05

log = logging.getLogger(__name__)


class Tokens(TypedDict):
    access: str
    refresh: str


class Session:
    """The tokens of a request's client, and their changes for its response.

    The claims are read without verification: they decide what a page shows, and the API verifies
    what it is given.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.access = request.COOKIES.get(ACCESS, "")
        self.refresh = request.COOKIES.get(REFRESH, "")
        self._changed = False

    @property
    def signed_in(self) -> bool:
        return bool(self.refresh)

    @property
    def username(self) -> str:
        return str(claims(self.access).get("username", "")) if self.signed_in else ""

    @property
    def expired(self) -> bool:
        """Return whether the access token must be replaced before it is used."""
        return _seconds_left(self.access) < EARLY_SECONDS

    def start(self, tokens: Tokens) -> None:
        """Set new tokens."""
        self.access, self.refresh, self._changed = tokens["access"], tokens["refresh"], True

    def end(self) -> None:
        """Drop the tokens."""
        self.access, self.refresh, self._changed = "", "", True

    def save(self, response: HttpResponse) -> None:
        """Set or delete the cookies of a response, if the tokens have changed."""
        if not self._changed:
            return
        if not self.refresh:
            response.delete_cookie(ACCESS, samesite="Lax")
            response.delete_cookie(REFRESH, samesite="Lax")
            return
        # Both as long as the refresh token: an expired access token still has the name.
        lifetime = max(0, int(_seconds_left(self.refresh)))
        for name, token in ((ACCESS, self.access), (REFRESH, self.refresh)):
            set_cookie(response, name, token, lifetime)


def set_cookie(response: HttpResponse, name: str, value: str, max_age: int) -> None:
    """Set a cookie that only this site gets, and no script. `max_age` is in seconds."""
    secure = settings.SESSION_COOKIE_SECURE
    response.set_cookie(name, value, max_age, httponly=True, samesite="Lax", secure=secure)


def claims(token: str) -> dict[str, Any]:
    """Return a token's claims without verifying them; none if it is malformed."""
    try:
        part = token.split(".")[1]
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def exchanged(refresh: str, exchange: Callable[[], Tokens]) -> Tokens | None:
    """Exchange a refresh token once, for all requests that have it at the same time.

    A refresh token that is used twice ends its session, and two tabs send the same one. The
    deployment's cache has the new tokens for a short time, encrypted with the old one. Without the
    cache nothing keeps two requests apart. Returns None if another request has tried in vain.
    """
    digest = sha256(refresh.encode()).digest()
    secret = Fernet(urlsafe_b64encode(sha256(b"storefront" + refresh.encode()).digest()))
    key = f"storefront:refresh:{digest.hex()}"
    try:
        first = cache.add(key, "", EXCHANGE_SECONDS)
    except Exception as error:
        log.warning("a token is refreshed without the cache: %r", error)
        return exchange()
    return _shared(key, secret, exchange) if first else _of_other(key, secret)


def _shared(key: str, secret: Fernet, exchange: Callable[[], Tokens]) -> Tokens:
    """Exchange the token, and share the result with the requests that wait for it."""
    tokens = None
    try:
        tokens = exchange()
        return tokens
    finally:
        text = secret.encrypt(json.dumps(tokens).encode()).decode()
        with suppress(Exception):
            cache.set(key, text, KEEP_SECONDS if tokens else FAILED_SECONDS)


def _of_other(key: str, secret: Fernet) -> Tokens | None:
    """Wait for the result of the request that exchanges the token."""
    ends = monotonic() + EXCHANGE_SECONDS
    while (found := cache.get(key)) == "" and monotonic() < ends:
        sleep(POLL_SECONDS)
    tokens: Tokens | None = json.loads(secret.decrypt(found.encode())) if found else None
    return tokens


def _seconds_left(token: str) -> float:
    expires = claims(token).get("exp", 0)
    return expires - time() if isinstance(expires, int | float) else 0.0
