"""The admin's sidebar and index: this deployment's contexts, and the parked jobs."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext
from django.http import HttpRequest

from severable.admin import columns
from severable.jobs.models import Job


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: this deployment's contexts first, the package's apps collapsed below."""
    return [
        {
            "title": app["name"],
            "collapsible": app["app_label"] not in settings.DEPLOYMENT.contexts,
            "items": [
                {
                    "title": model["name"],
                    "link": model["admin_url"],
                    "icon": getattr(admin.site.get_model_admin(model["model"]), "icon", ""),
                }
                for model in app["models"]
                if model["admin_url"]
            ],
        }
        for app in _apps(request)
    ]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the index, and warn of parked jobs."""
    for model in apps.get_models():
        if not issubclass(model, Job):
            continue
        parked = model._default_manager.filter(state=Job.State.PARKED).count()
        if parked:
            text = f"{parked} {model_ngettext(model._meta, parked)} parked"
            found = columns.rows(model._meta.label_lower, text, state__exact=Job.State.PARKED)
            messages.warning(request, found)
    return context | {"app_list": _apps(request)}


def _apps(request: HttpRequest) -> list[Any]:
    known = {app["app_label"]: app for app in admin.site.get_app_list(request)}
    registered = list(admin.site._registry)
    for app in known.values():
        app["models"].sort(key=lambda model: registered.index(model["model"]))
    places = dict.fromkeys([*settings.DEPLOYMENT.contexts, *sorted(known)])
    return [known[name] for name in places if name in known]
