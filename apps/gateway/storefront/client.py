"""The client of the public API, for one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.http import HttpRequest

from apps.gateway.storefront import session as sessions
from apps.gateway.storefront.backends import Answer, Call, Unreachable, send
from apps.gateway.storefront.session import Session

MORE_SECONDS = 7.0  # than a call may take: placing an order makes several
PAGE_SECONDS = 18.0  # for all requests of a page; less than the edge waits
RETRY_AFTER = "2"


class ApiError(Exception):
    """A response of the API with a status from 400: a problem (RFC 9457)."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: str = "") -> None:
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        super().__init__(f"{status} {self.code}: {self.detail}")

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each wrong field, such as "items[0].sku", and its message."""
        for error in self.problem.get("errors", ()):
            yield str(error["field"]), str(error["detail"])
        if "field" in self.problem:
            yield str(self.problem["field"]), self.detail


class SignInRequired(ApiError):
    """The client has not signed in, or its session has ended."""


class NotFound(ApiError):
    """There is no such object, or the client may not see it."""


class TooManyRequests(ApiError):
    """The client must wait for `retry_after` seconds."""


class Unavailable(ApiError):
    """There was no response, or one that is no answer. The request may have been executed."""


KINDS: dict[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: SignInRequired,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


class Api:
    """The API as the client of a page request may use it. All methods raise ApiError."""

    def __init__(self, page: HttpRequest, session: Session) -> None:
        self._page, self._session = page, session
        self._ends = monotonic() + PAGE_SECONDS

    def get(self, path: str, **query: str) -> Any:
        """Return what anyone may read."""
        return self._send(Call("GET", path, urlencode(query)))[1]

    def post(self, path: str, body: Any, key: str = "") -> Any:
        """Send a request that needs no sign-in. `key` is its Idempotency-Key."""
        return self._send(_post(path, body, {"Idempotency-Key": key} if key else {}))[1]

    def own(self, path: str, **query: str) -> Any:
        """Return what only the signed-in customer may read."""
        return self._authenticated(Call("GET", path, urlencode(query)))[1]

    def order(self, path: str, body: Any, key: str, **headers: str) -> tuple[int, Any]:
        """Send a request of the signed-in customer. Return its status and its body."""
        return self._authenticated(_post(path, body, {"Idempotency-Key": key, **headers}))

    def sign_in(self, username: str, password: str) -> None:
        """Start a session."""
        body = {"username": username, "password": password}
        self._session.start(self.post("/api/auth/token", body))

    def sign_out(self) -> None:
        """End the session, also if the API does not know it."""
        refresh = self._session.refresh
        self._session.end()
        if refresh:
            self.post("/api/auth/logout", {"refresh": refresh})

    def _authenticated(self, call: Call) -> tuple[int, Any]:
        if not self._session.signed_in:
            raise SignInRequired(HTTPStatus.UNAUTHORIZED, {})
        fresh = self._session.expired
        if fresh:
            self._refresh()
        try:
            return self._send(_with_token(call, self._session.access))
        except SignInRequired:
            if fresh:
                raise
        self._refresh()  # the key that signed the token may have been withdrawn
        return self._send(_with_token(call, self._session.access))

    def _refresh(self) -> None:
        body = {"refresh": self._session.refresh}
        try:
            tokens = sessions.exchanged(
                body["refresh"], lambda: self.post("/api/auth/token/refresh", body)
            )
        except SignInRequired:
            self._session.end()
            raise
        if tokens is None:
            raise _unavailable("another request could not refresh the token")
        self._session.start(tokens)

    def _send(self, call: Call) -> tuple[int, Any]:
        most = settings.TOPOLOGY.timeout + MORE_SECONDS
        timeout = min(most, self._ends - monotonic())
        try:
            if timeout <= 0:
                raise Unreachable("the page has no time left")
            answer = send(call, self._page, timeout)
        except Unreachable as error:
            raise _unavailable(str(error)) from None
        return _read(answer)


def path_of(pattern: str, *parts: str) -> str:
    """Return a path of the API, such as `path_of("/api/inventory/products/{}", sku)`.

    Raises NotFound for parts that a server on the way would resolve.
    """
    if {".", ".."} & set(parts):
        raise NotFound(HTTPStatus.NOT_FOUND, {})
    return pattern.format(*(quote(part, safe="") for part in parts))


def _post(path: str, body: Any, headers: dict[str, str]) -> Call:
    headers = {"Content-Type": "application/json", **headers}
    return Call("POST", path, "", json.dumps(body).encode(), headers)


def _with_token(call: Call, access: str) -> Call:
    headers = {**call.headers, "Authorization": f"Bearer {access}"}
    return Call(call.method, call.path, call.query, call.body, headers)


def _read(answer: Answer) -> tuple[int, Any]:
    """Return the status and the content of a response. Raises ApiError."""
    try:
        content = json.loads(answer.body or b"null")
    except ValueError:
        raise _unavailable("the response is no JSON") from None
    if answer.status < 400:
        return answer.status, content
    problem = content if isinstance(content, dict) else {}
    kind = Unavailable if answer.status >= 500 else KINDS.get(answer.status, ApiError)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    raise kind(answer.status, problem, headers.get("retry-after", ""))


def _unavailable(why: str) -> Unavailable:
    problem = {"code": "unavailable", "detail": why}
    return Unavailable(HTTPStatus.SERVICE_UNAVAILABLE, problem, RETRY_AFTER)
