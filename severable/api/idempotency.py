"""`Idempotency-Key`: the same request again gets the same answer, byte for byte.

The semantics are those of draft-ietf-httpapi-idempotency-key-header: another body under the
same key is 422, the same one still in flight is 409. A process that dies in between leaves the
key locked for LOCK; after that the request runs again under the same `operation_id`, by which
the services recognise what they have already done. A process that outlives its database releases
the lock by itself.

A key belongs to its caller and to the context that owns the route, so that the placement makes
no difference. For callers who are not signed in it belongs to their network; the same request
from elsewhere is answered alike, and any other request neither sees nor disturbs it.
"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, IntegrityError, transaction
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
from severable.jobs.clock import periodic

KEPT = timedelta(hours=24)
LONGEST = 255
METHODS = ("POST", "PATCH")
REPLAYED_HEADERS = ("Content-Type", "Location", "Retry-After")


class InFlight(exceptions.APIException):
    """The same request is being worked on."""

    status_code = HTTPStatus.CONFLICT
    default_code = "in_flight"
    default_detail = "A request with this Idempotency-Key is still being worked on."


class KeyReused(Unprocessable):
    """The key was sent before, with another request."""

    default_code = "key_reused"
    default_detail = "This Idempotency-Key was used for a request that differs from this one."


class _Replay(Exception):
    def __init__(self, known: IdempotencyKey) -> None:
        self.known = known


class Idempotent(APIView):
    """A view whose POSTs and PATCHes take an Idempotency-Key. `operation_id` names the
    execution: services that are given it do nothing twice."""

    operation_id: UUID
    _claimed: IdempotencyKey | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        key = request.headers.get("Idempotency-Key")
        if request.method in METHODS and key is not None:
            wanted = _wanted(self, request, key)
            try:
                _claim(wanted, request)
            except Error:
                abandoned.add(wanted)  # the claim may have been committed
                raise
            self._claimed = wanted
            self.operation_id = wanted.operation_id
        else:
            self.operation_id = uuid7()

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, _Replay):
            return _replayed(exc.known)  # type: ignore[return-value]
        if self._claimed and not is_domain_error(exc):
            _give_back(self._claimed, exc)
            self._claimed = None
        return super().handle_exception(exc)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed:
            final.add_post_render_callback(self._keep_or_release)
        return final

    def _keep_or_release(self, response: Response) -> None:
        assert self._claimed
        try:
            self._keep(response)
        except Error:
            abandoned.add(self._claimed)
            raise

    def _keep(self, response: Response) -> None:
        assert self._claimed
        # The first answer stays: a slow execution may end after one that took its key over.
        IdempotencyKey.objects.filter(pk=self._claimed.pk, status=None).update(
            status=response.status_code,
            headers={n: response[n] for n in REPLAYED_HEADERS if response.has_header(n)},
            body=response.content,
        )


@periodic(seconds=600)
def purge_old_keys() -> None:
    """Forget the keys of yesterday."""
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()


def _wanted(view: APIView, request: Request, key: str) -> IdempotencyKey:
    """A row that claims a key, not saved yet."""
    if not key.isprintable() or not 1 <= len(key) <= LONGEST:
        raise exceptions.ParseError(f"Idempotency-Key must be 1 to {LONGEST} printable characters.")
    context = context_of(view)
    fingerprint = _fingerprint(request, settings.SECRET_KEY)
    wanted = IdempotencyKey(
        context=context,
        caller=_caller(request),
        key=key,
        fingerprint=fingerprint,
        locked_until=Now() + LOCK,
    )
    if not request.user.is_authenticated:
        # The request itself is the identity: from another network it is still the same one, and
        # a request of somebody else's under the same key has nothing to do with it.
        wanted.operation_id = _operation_id(f"{context} {key} {fingerprint}")
    return wanted


def _caller(request: Request) -> str:
    if request.user.is_authenticated:
        return f"user-{request.user.id}"
    return f"anonymous {network_of(client_address(request))}"


def _claim(wanted: IdempotencyKey, request: Request) -> None:
    """Make the key this run's own. Raises InFlight, KeyReused, _Replay."""
    try:
        with transaction.atomic():
            wanted.save(force_insert=True)
    except IntegrityError:
        same_key = Q(context=wanted.context, caller=wanted.caller, key=wanted.key)
        found = list(IdempotencyKey.objects.filter(Q(pk=wanted.pk) | same_key))
        if not found:  # given back in this very moment
            raise InFlight from None
        # Of an anonymous client there may be two: the same request comes first.
        known = min(found, key=lambda key: key.pk != wanted.pk)
        _take_over(known, wanted, request)


def _take_over(known: IdempotencyKey, wanted: IdempotencyKey, request: Request) -> None:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if known.fingerprint not in {_fingerprint(request, secret) for secret in secrets}:
        raise KeyReused
    if known.status is not None:
        raise _Replay(known)
    wanted.operation_id = known.operation_id
    over = Q(locked_until__lte=Now()) | Q(claim__in=abandoned.claims())
    free = IdempotencyKey.objects.filter(over, pk=known.pk, status=None)
    if not free.update(locked_until=Now() + LOCK, claim=wanted.claim):
        raise InFlight


def _fingerprint(request: Request, secret: str) -> str:
    """Keyed, since a body may contain a password: nobody may guess at it with a copy of the row."""
    said = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    digest = salted_hmac("severable.api.idempotency", said, secret=secret, algorithm="sha256")
    return digest.hexdigest()


def _operation_id(text: str) -> UUID:
    digest = salted_hmac("severable.api.idempotency.operation", text, algorithm="sha256").digest()
    return UUID(bytes=digest[:16], version=5)


def _give_back(claimed: IdempotencyKey, error: Exception) -> None:
    mine = IdempotencyKey.objects.filter(pk=claimed.pk, claim=claimed.claim, status=None)
    try:
        if isinstance(error, exceptions.APIException):
            mine.delete()  # not understood or not allowed: nothing was done, the key is free
        else:
            # The outcome is unknown: the caller may ask again, as the same operation.
            mine.update(locked_until=Now())
    except Error:
        abandoned.add(claimed)


def _replayed(known: IdempotencyKey) -> HttpResponse:
    response = HttpResponse(bytes(known.body), status=known.status)
    for name, value in known.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response
