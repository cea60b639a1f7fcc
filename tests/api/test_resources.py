"""What a client may make the shop hold in memory is bounded, whatever it sends or asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import settings
from django.test import RequestFactory
from rest_framework.permissions import AllowAny

from shop.wsgi import application
from tests.api.matrix import MATRIX
from tests.api.routes import documented, in_document, served, view_class


def is_open(view: Any) -> bool:
    return AllowAny in view_class(view).permission_classes


LISTS = sorted(
    path
    for (method, path), operation in documented().items()
    if method == "GET" and any(p["name"] == "page_size" for p in operation.get("parameters", ()))
)
LARGE = 100 * 1024 * 1024
# What reads a body before anybody has signed in.
OPEN = [
    path
    for (method, path), view in served().items()
    if (method, path) in MATRIX and MATRIX[method, path].body and is_open(view)
]


@dataclass
class Endless:
    """A body that goes on and on, and how much of it was taken."""

    taken: int = 0

    def read(self, size: int = LARGE) -> bytes:
        assert size >= 0, "the whole body would be read"
        self.taken += size
        return b" " * size

    readline = read  # Django asks for it


@pytest.mark.django_db(transaction=True)  # the server closes what is left of a transaction
@pytest.mark.parametrize("more", [{}, {"HTTP_IDEMPOTENCY_KEY": "k"}])
@pytest.mark.parametrize("path", OPEN)
def test_of_100_mb_no_more_is_read_than_is_taken(path: str, more: dict[str, str]) -> None:
    body, answered = Endless(), []
    environ = RequestFactory().post(path, content_type="application/json").environ
    environ |= {"wsgi.input": body, "CONTENT_LENGTH": str(LARGE), **more}
    answer = application(environ, lambda status, headers: answered.append(status))

    assert answered == ["413 Request Entity Too Large"]
    assert json.loads(b"".join(answer))["code"] == "too_large"
    assert body.taken <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1


def test_there_are_some() -> None:
    assert LISTS and OPEN


@pytest.mark.parametrize("path", LISTS)
def test_no_list_gives_more_than_a_page(path: str) -> None:
    """`?page_size=1000000` would have all rows of a table in memory at once."""
    views = {in_document(p): view for (method, p), view in served().items() if method == "GET"}
    paginator = view_class(views[path]).pagination_class()

    request = RequestFactory().get(path, {"page_size": "1000000"})
    request.query_params = request.GET  # type: ignore[attr-defined]
    assert paginator.get_page_size(request) == 100
