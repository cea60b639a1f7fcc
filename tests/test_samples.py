"""A context that has no samples yet is told what to add, and in which file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from severable.topology.model import Context
from tests import samples
from tests.admin import rows, views
from tests.api.matrix import MATRIX, check_complete
from tests.api.routes import at
from tests.samples import MissingSample

ORDER = "/api/orders/<uuid:order_id>"


@pytest.fixture
def review() -> Any:
    """A model of a context without samples, and without a table."""
    with isolate_apps("apps.inventory"):

        class Review(models.Model):
            __module__ = "apps.reviews.models"
            text = models.CharField(max_length=10)

            class Meta:
                app_label = "inventory"

            def __str__(self) -> str:
                return ""

        yield Review


@pytest.mark.django_db(transaction=True)
def test_a_model_of_which_no_row_can_be_made(review: Any) -> None:
    """It was a KeyError: Review."""
    with pytest.raises(MissingSample) as raised:
        rows.make(review, 1)
    message = str(raised.value)
    assert message.startswith("no row of inventory.Review could be made of {'text': '1-text'} (")
    assert "add Review to ROWS in tests/reviews/samples.py" in message


def test_a_page_with_inlines(review: Any) -> None:
    with pytest.raises(MissingSample, match=r"add Review to PARTS in tests/reviews/samples\.py"):
        rows.parts(review)


def test_a_model_that_staff_edit(review: Any) -> None:
    with pytest.raises(MissingSample, match=r"add Review to EDITABLE in tests/reviews/samples\.py"):
        views.check_editable({review})


def test_a_route() -> None:
    matrix = {key: route for key, route in MATRIX.items() if key != ("GET", ORDER)}
    with pytest.raises(MissingSample) as raised:
        check_complete(matrix)
    assert str(raised.value) == (
        f"GET {ORDER} is served, and no sample says who may use it:"
        f" add ('GET', '{ORDER}') to ROUTES in tests/orders/samples.py,"
        " which tests/samples.py describes"
    )


@pytest.mark.parametrize("path", [ORDER, "/api/orders/{order_id}"])
def test_a_parameter_of_a_path(path: str) -> None:
    """It was `assert 404 in (403, 405)`."""
    add = r'add {"order_id": make} to PARAMETERS in tests/orders/samples\.py'
    with pytest.raises(MissingSample, match=add):
        at(path, {"user_id": "1"})


def test_a_method_of_a_contract() -> None:
    called = {("EventFeed", "Read")}
    with pytest.raises(MissingSample) as raised:
        samples.check_calls(called)
    assert str(raised.value).startswith(
        "no sample calls /user.UserService/GetUser: yield"
        ' (UserServiceStub, "GetUser", <its request>) from calls() in tests/users/samples.py'
    )


def test_a_context_without_samples_is_no_error(settings: Any) -> None:
    """A context with nothing to tell needs no file."""
    contexts = {**settings.TOPOLOGY.contexts, "reviews": Context("reviews")}
    settings.TOPOLOGY = replace(settings.TOPOLOGY, contexts=contexts)
    assert "reviews" not in samples.modules.__wrapped__()
