"""The admin's views: those of every model, the buttons of a row's page, and those of no model."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import get_resolver, reverse

from tests import samples
from tests.api.routes import patterns

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)

# Every model has these, below its list.
ROW = "<path:object_id>/"
OF_A_MODEL = {"", "add/", ROW, f"{ROW}history/", f"{ROW}delete/", f"{ROW}change/"}
# Of no model, with what staff are answered. Search and autocomplete look at each model's
# permission to view.
OF_NONE = {
    "": 200,
    "login/": 302,  # they have signed in
    "logout/": 405,  # takes a POST
    "password_change/": 200,  # their own
    "password_change/done/": 200,
    "jsi18n/": 200,
    "at/shop/": 200,
    "at/shop/search/": 200,
    "at/shop/autocomplete/": 403,
    "at/shop/r/<path:content_type_id>/<path:object_id>/": 404,
}
CATCH_ALL = {"(?P<url>.*)$"}


def check_editable(models: set[Any]) -> None:
    """Raise MissingSample for a model that is edited by hand, and of which no sample says so."""
    for model in models - {Group} - samples.collected("EDITABLE").keys():
        raise samples.MissingSample(
            model.__module__,
            f"staff edit {model._meta.label} by hand, as its admin is no Record",
            f"add {model.__name__} to EDITABLE",
        )


def listed(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def path_of(model: Any) -> str:
    """The path of a model's list, without admin/: those of no context are the deployment's."""
    label = model._meta.app_label
    where = "" if label in settings.TOPOLOGY.contexts else f"at/{settings.DEPLOYMENT.name}/"
    return f"{where}{label}/{model._meta.model_name}"


def served() -> set[str]:
    """The paths of all views of the admin, without admin/."""
    found = {path for path, _ in patterns(get_resolver().url_patterns) if path.startswith("admin/")}
    paths = {path.removeprefix("admin/") for path in found}
    return {path for path in paths if "(?P<app_label>" not in path}


def buttons(model: Any) -> set[str]:
    """The names of the buttons of a row's page, such as "ship_one": what is served there and is
    not Django's."""
    start = f"{path_of(model)}/{ROW}"
    below = {path.removeprefix(start) for path in served() if path.startswith(start)}
    return {name.rstrip("/") for name in below if f"{ROW}{name}" not in OF_A_MODEL}
