"""The documentation of the API: the OpenAPI document and its Swagger UI."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from http import HTTPStatus
from threading import Lock
from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

FRESH = 60  # seconds for which a cached copy is not revalidated

_building = Lock()


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, as YAML or JSON. Building it takes long, and it is the same for all
    callers, so each process builds it once."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        renderer = request.accepted_renderer
        kind: Any = renderer.__class__
        with _building:  # not once per thread
            body = _rendered(kind)
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


@cache
def _rendered(renderer: type[BaseRenderer]) -> bytes:
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    rendered: Any = renderer().render(generator.get_schema(request=None, public=True), None, {})
    return bytes(rendered)
