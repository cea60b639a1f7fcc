"""The documentation of the API: the OpenAPI document and its Swagger UI."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from math import inf
from threading import Lock
from time import monotonic
from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from severable.api import merging

FRESH = 60  # seconds for which a cached copy is not revalidated, nor other deployments are asked
INCOMPLETE = 5.0  # seconds after which a deployment that has not responded is asked again

_building = Lock()


@dataclass(frozen=True)
class Rendered:
    """The bytes of a document, and until when (`monotonic()`) they are used."""

    body: bytes
    until: float


_kept: dict[type[BaseRenderer], Rendered] = {}


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, as YAML or JSON; the gateway's has the operations of all deployments.

    Building it takes long, and it is the same for all callers, so each process builds its own part
    once.
    """

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        renderer = request.accepted_renderer
        kind: Any = renderer.__class__
        body = _rendered(kind, request.get_host())
        etag = f'"{sha256(body).hexdigest()[:32]}"'
        response = HttpResponse(body, content_type=f"{renderer.media_type}; charset=utf-8")
        response["Content-Disposition"] = f'inline; filename="shop.{renderer.format}"'
        response["Cache-Control"] = f"public, max-age={FRESH}"
        response["ETag"] = etag
        return get_conditional_response(request._request, etag=etag, response=response)


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI."""

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer without a body: DRF would render one, for which this page has no template."""
        headers = {"Allow": ", ".join(self.allowed_methods), "Content-Length": "0"}
        return HttpResponse(status=HTTPStatus.OK, headers=headers)


def _rendered(renderer: type[BaseRenderer], host: str) -> bytes:
    """Return the document. While one thread renews it, the others use the one that there is."""
    kept = _kept.get(renderer)
    if kept and (kept.until > monotonic() or _building.locked()):
        return kept.body
    with _building:
        kept = _kept.get(renderer)
        if kept is None or kept.until <= monotonic():
            document, seconds = _document(host)
            rendered: Any = renderer().render(document, None, {})
            kept = _kept[renderer] = Rendered(bytes(rendered), monotonic() + seconds)
        return kept.body


def _document(host: str) -> tuple[merging.Document, float]:
    """Return the document, and the seconds for which it may be used."""
    others = merging.others()
    if not others:
        return _own(), inf
    found = merging.fetch(others, host)
    complete = None not in found.values()
    return merging.merge(_own(), found), FRESH if complete else INCOMPLETE


@cache
def _own() -> merging.Document:
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    return dict(generator.get_schema(request=None, public=True))
