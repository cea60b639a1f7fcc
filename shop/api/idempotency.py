"""`Idempotency-Key`: the same request again gets the same answer, byte for byte.

The semantics are those of draft-ietf-httpapi-idempotency-key-header: another body under the
same key is 422, the same one still in flight is 409. A process that dies in between leaves the
key locked for LOCK; after that the request runs again under the same `operation_id`, by which
the services recognise what they have already done.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from uuid_utils.compat import uuid7

from shop.api.errors import Unprocessable, is_refusal
from shop.api.models import IdempotencyKey
from shop.jobs.clock import every

LOCK = timedelta(seconds=30)
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
            self._claimed = _claim(request, key)
            self.operation_id = self._claimed.operation_id
        else:
            self.operation_id = uuid7()

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, _Replay):
            return _replayed(exc.known)  # type: ignore[return-value]
        if self._claimed and not is_refusal(exc):
            _give_back(self._claimed, exc)
            self._claimed = None
        return super().handle_exception(exc)

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed:
            final.add_post_render_callback(self._keep)
        return final

    def _keep(self, response: Response) -> None:
        assert self._claimed
        # The first answer stays: a slow execution may end after one that took its key over.
        IdempotencyKey.objects.filter(pk=self._claimed.pk, status=None).update(
            status=response.status_code,
            headers={n: response[n] for n in REPLAYED_HEADERS if response.has_header(n)},
            body=response.content,
        )


@every(seconds=600)
def purge_old_keys() -> None:
    """Forget the keys of yesterday."""
    IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT).delete()


def _claim(request: Request, key: str) -> IdempotencyKey:
    if not key.isprintable() or not 1 <= len(key) <= LONGEST:
        raise exceptions.ParseError(f"Idempotency-Key must be 1 to {LONGEST} printable characters.")
    caller = f"user-{request.user.id}" if request.user.is_authenticated else "anonymous"
    fingerprint = _fingerprint(request)
    try:
        with transaction.atomic():
            return IdempotencyKey.objects.create(
                caller=caller, key=key, fingerprint=fingerprint, locked_until=Now() + LOCK
            )
    except IntegrityError:
        known = IdempotencyKey.objects.filter(caller=caller, key=key).first()
        if known is None:  # given back in this very moment
            raise InFlight from None
        return _known(known, fingerprint)


def _known(known: IdempotencyKey, fingerprint: str) -> IdempotencyKey:
    if known.fingerprint != fingerprint:
        raise KeyReused
    if known.status is not None:
        raise _Replay(known)
    abandoned = Q(pk=known.pk, status=None, locked_until__lte=Now())
    if not IdempotencyKey.objects.filter(abandoned).update(locked_until=Now() + LOCK):
        raise InFlight
    return known


def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    digest.update(request.body)
    return digest.hexdigest()


def _give_back(claimed: IdempotencyKey, error: Exception) -> None:
    if isinstance(error, exceptions.APIException):
        claimed.delete()  # not understood or not allowed: nothing was done, the key is free
    else:
        # The outcome is unknown: the caller may ask again, as the same operation.
        IdempotencyKey.objects.filter(pk=claimed.pk).update(locked_until=Now())


def _replayed(known: IdempotencyKey) -> HttpResponse:
    response = HttpResponse(bytes(known.body), status=known.status)
    for name, value in known.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response
