"""`Idempotency-Key`: a repeated request gets the same response, byte for byte.

The semantics are those of draft-ietf-httpapi-idempotency-key-header: another body with the same
key is 422, the same one still in flight is 409. A process that dies meanwhile leaves the key locked
for LOCK; after that the request runs again with the same `operation_id`, by which the services
recognize that they have already run. A process that survives an outage of its database releases
the lock itself.

A key belongs to its caller and to the context that owns the route, so that the placement makes
no difference. The key of an anonymous caller belongs to its network; the same request from another
network gets the same response, and any other request is independent of it.
"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from uuid_utils.compat import uuid7

from severable.api.abandoned import abandoned
from severable.api.address import client_address, network_of
from severable.api.errors import Unprocessable, is_domain_error
from severable.api.models import LOCK, IdempotencyKey
from severable.api.owner import context_of
from severable.jobs.scheduler import periodic
from severable.rows import insert_new

RETENTION = timedelta(hours=24)
MAX_LENGTH = 255
METHODS = ("POST", "PATCH")
REPLAYED_HEADERS = ("Content-Type", "Location", "Retry-After")


class InFlight(exceptions.APIException):
    """The same request is in flight."""

    status_code = HTTPStatus.CONFLICT
    default_code = "in_flight"
    default_detail = "A request with this Idempotency-Key is still in flight."


class KeyReused(Unprocessable):
    """The key was already used for another request."""

    default_code = "key_reused"
    default_detail = "This Idempotency-Key was used for a request that differs from this one."


class _Replay(Exception):
    def __init__(self, known: IdempotencyKey) -> None:
        self.known = known


class Idempotent(APIView):
    """A view whose POSTs and PATCHes accept an Idempotency-Key. `operation_id` identifies the
    execution: services that get it do nothing twice."""

    operation_id: UUID
    _claimed: IdempotencyKey | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        key = request.headers.get("Idempotency-Key")
        if request.method in METHODS and key is not None:
            claim_row = _new_claim(self, request, key)
            try:
                _claim(claim_row, request)
            except Error:
                abandoned.add(claim_row)  # the claim may have been committed
                raise
            self._claimed = claim_row
            self.operation_id = claim_row.operation_id
        else:
            self.operation_id = uuid7()

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, _Replay):
            return _replayed(exc.known)  # type: ignore[return-value]
        if self._claimed and not is_domain_error(exc):
            _release(self._claimed, exc)
            self._claimed = None
        return super().handle_exception(exc)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed:
            final.add_post_render_callback(self._store_or_abandon)
        return final

    def _store_or_abandon(self, response: Response) -> None:
        assert self._claimed
        try:
            self._store(response)
        except Error:
            abandoned.add(self._claimed)
            raise

    def _store(self, response: Response) -> None:
        assert self._claimed
        # The first response stays: a slow execution may end after one that took over its key.
        IdempotencyKey.objects.filter(pk=self._claimed.pk, status=None).update(
            status=response.status_code,
            headers={n: response[n] for n in REPLAYED_HEADERS if response.has_header(n)},
            body=response.content,
        )


@periodic(seconds=600)
def purge_old_keys() -> None:
    """Delete the keys that are older than RETENTION."""
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - RETENTION).delete()


def _new_claim(view: APIView, request: Request, key: str) -> IdempotencyKey:
    """Return a row that claims a key, not saved yet."""
    if not key.isprintable() or not 1 <= len(key) <= MAX_LENGTH:
        raise exceptions.ParseError(
            f"Idempotency-Key must be 1 to {MAX_LENGTH} printable characters."
        )
    context = context_of(view)
    fingerprint = _fingerprint(request, settings.SECRET_KEY)
    claim_row = IdempotencyKey(
        context=context,
        caller=_caller(request),
        key=key,
        fingerprint=fingerprint,
        locked_until=Now() + LOCK,
    )
    if not request.user.is_authenticated:
        # The request itself is the identity: it is the same from another network, and another
        # client's request with the same key is independent of it.
        claim_row.operation_id = _operation_id(f"{context} {key} {fingerprint}")
    return claim_row


def _caller(request: Request) -> str:
    if request.user.is_authenticated:
        return f"user-{request.user.id}"
    return f"anonymous {network_of(client_address(request))}"


def _claim(claim_row: IdempotencyKey, request: Request) -> None:
    """Claim the key for this execution. Raises InFlight, KeyReused, _Replay."""
    if insert_new(claim_row):
        return
    same_key = Q(context=claim_row.context, caller=claim_row.caller, key=claim_row.key)
    found = list(IdempotencyKey.objects.filter(Q(pk=claim_row.pk) | same_key))
    if not found:  # released at this moment
        raise InFlight
    # An anonymous client may have two: prefer the same request.
    known = min(found, key=lambda key: key.pk != claim_row.pk)
    _take_over(known, claim_row, request)


def _take_over(known: IdempotencyKey, claim_row: IdempotencyKey, request: Request) -> None:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if known.fingerprint not in {_fingerprint(request, secret) for secret in secrets}:
        raise KeyReused
    if known.status is not None:
        raise _Replay(known)
    claim_row.operation_id = known.operation_id
    expired = Q(locked_until__lte=Now()) | Q(claim__in=abandoned.claims())
    free = IdempotencyKey.objects.filter(expired, pk=known.pk, status=None)
    if not free.update(locked_until=Now() + LOCK, claim=claim_row.claim):
        raise InFlight


def _fingerprint(request: Request, secret: str) -> str:
    """Return a keyed hash: a body may have a password, which a copy of the row must not reveal."""
    content = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    digest = salted_hmac("severable.api.idempotency", content, secret=secret, algorithm="sha256")
    return digest.hexdigest()


def _operation_id(text: str) -> UUID:
    digest = salted_hmac("severable.api.idempotency.operation", text, algorithm="sha256").digest()
    return UUID(bytes=digest[:16], version=5)


def _release(claimed: IdempotencyKey, error: Exception) -> None:
    own = IdempotencyKey.objects.filter(pk=claimed.pk, claim=claimed.claim, status=None)
    try:
        if isinstance(error, exceptions.APIException):
            own.delete()  # malformed or not allowed: nothing was done, the key is free
        else:
            # The outcome is unknown: the caller may retry the same operation.
            own.update(locked_until=Now())
    except Error:
        abandoned.add(claimed)


def _replayed(known: IdempotencyKey) -> HttpResponse:
    response = HttpResponse(bytes(known.body), status=known.status)
    for name, value in known.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response
