"""The generic tests see what a router serves: the methods of ViewSets, DELETE among them."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from severable.api import Idempotent
from shop import urls
from tests.api.matrix import MATRIX, check_complete, check_key
from tests.api.routes import at, documented, served, view_class
from tests.samples import MissingSample

pytestmark = pytest.mark.urls(__name__)

LIST, ONE = "/api/reviews", "/api/reviews/<review_id>"


class ReviewSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()


@extend_schema(responses=ReviewSerializer, request=ReviewSerializer)
class Reviews(Idempotent, viewsets.ViewSet):
    permission_classes = [AllowAny]
    lookup_url_kwarg = "review_id"

    def list(self, request: Request) -> Response:
        return Response([])

    def create(self, request: Request) -> Response:
        return Response({"text": "new"}, 201)

    def destroy(self, request: Request, review_id: str) -> Response:
        return Response(status=204)


class Keyless(viewsets.ViewSet):
    def create(self, request: Request) -> Response:
        return Response(status=201)


router = DefaultRouter(trailing_slash=False)
router.include_root_view = False
router.register("api/reviews", Reviews, basename="review")
urlpatterns = [*urls.urlpatterns, *router.urls]
ROUTED = {("GET", LIST), ("POST", LIST), ("DELETE", ONE)}


def test_the_methods_that_a_router_binds_are_served() -> None:
    """Of a ViewSet's routes, each was taken for one GET."""
    assert {key: view_class(served()[key]) for key in ROUTED} == dict.fromkeys(ROUTED, Reviews)
    assert {key for key in served() if key[1] in (LIST, ONE)} == ROUTED


def test_the_document_has_them() -> None:
    known = {"review_id": "{review_id}"}
    assert {(method, at(path, known)) for method, path in ROUTED} <= documented().keys()


def test_each_of_them_needs_a_sample() -> None:
    for missing in ROUTED:
        matrix = {**MATRIX, **dict.fromkeys(ROUTED - {missing})}
        with pytest.raises(MissingSample, match=rf"{missing[0]} {missing[1]} is served"):
            check_complete(matrix)  # type: ignore[arg-type]
    check_complete({**MATRIX, **dict.fromkeys(ROUTED)})  # type: ignore[dict-item]


def test_a_post_of_a_viewset_takes_a_key_or_is_refused() -> None:
    check_key(("POST", LIST), served()["POST", LIST])
    with pytest.raises(AssertionError, match=r"derive Keyless from severable\.api\.Idempotent"):
        check_key(("POST", LIST), Keyless.as_view({"post": "create"}))


@pytest.mark.django_db
def test_they_answer(anonymous: APIClient) -> None:
    assert anonymous.post(LIST, {"text": "x"}, headers={"Idempotency-Key": "k"}).status_code == 201
    assert anonymous.delete(at(ONE, {"review_id": "7"})).status_code == 204
