"""The admin's sidebar and index: all contexts, this deployment's tables, and the parked jobs."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from severable.admin import columns
from severable.jobs.models import Job
from severable.topology import Deployment
from severable.topology.admin_paths import AT


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: the contexts first, then the tables of the deployments, collapsed. Those
    of other deployments are links to their pages."""
    here = {app["app_label"]: _group(app) for app in _apps(request)}
    contexts = [name for name, each in settings.TOPOLOGY.contexts.items() if each.package]
    found = [here.pop(name) if name in here else _elsewhere(name) for name in contexts]
    for group in here.values():
        found.append(group | {"collapsible": True})
    others = [d.name for d in _deployments() if d != settings.DEPLOYMENT]
    if others:
        items = [{"title": name, "link": _at(name), "icon": "dns"} for name in others]
        found.append({"title": "Other deployments", "collapsible": True, "items": items})
    return found


def _group(app: dict[str, Any]) -> dict[str, Any]:
    items = [
        {
            "title": model["name"],
            "link": model["admin_url"],
            "icon": getattr(admin.site.get_model_admin(model["model"]), "icon", ""),
        }
        for model in app["models"]
        if model["admin_url"]
    ]
    return {"title": app["name"], "items": items}


def _elsewhere(context: str) -> dict[str, Any]:
    link = f"{reverse('admin:index')}{context}/"
    item = {"title": context.capitalize(), "link": link, "icon": "open_in_new"}
    return {"title": context.capitalize(), "items": [item]}


def _deployments() -> list[Deployment]:
    found: list[Deployment] = settings.TOPOLOGY.deployments(settings.PLACEMENT)
    return found


def _at(deployment: str) -> str:
    return f"{reverse('admin:index')}{AT}/{deployment}/"


def renewal(request: HttpRequest) -> str:
    """Return the URL of the script that renews the token of staff while a page is open."""
    return static("severable/renewal.js")


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
