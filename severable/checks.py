"""System checks: contexts can be separated, and all that their contracts offer is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.db.models import Model

from severable.rpc.server.registry import registry
from severable.topology import contracts


@register()
def separable(**kwargs: Any) -> list[CheckMessage]:
    """Report relations between contexts, whose tables may be in different databases."""
    return list(crossing(apps.get_models(include_auto_created=True)))


@register()
def served(**kwargs: Any) -> list[CheckMessage]:
    """Report services of this deployment's contracts that nothing serves."""
    packages = [settings.TOPOLOGY.contexts[name].package for name in settings.DEPLOYMENT.contexts]
    return list(unserved(filter(None, packages), registry.services))


def crossing(models: Iterable[type[Model]]) -> Iterator[CheckMessage]:
    """Yield an error for each relation of these models that leads to another context."""
    contexts = settings.TOPOLOGY.contexts
    for model in models:
        here = model._meta.app_label
        for field in model._meta.get_fields() if here in contexts else ():
            there = field.related_model._meta.app_label if field.related_model else here
            if there != here and there in contexts:
                yield Error(
                    f"{model.__name__}.{field.name} leads from the context {here} to {there}",
                    hint=f"Keep the id in a plain field, and ask {there} by its contract.",
                    obj=model,
                    id="severable.E005",
                )


def unserved(packages: Iterable[str], services: Iterable[str]) -> Iterator[CheckMessage]:
    """Yield an error for each service of these contracts that is not among `services`."""
    found = set(services)
    for package in packages:
        for service in contracts.load(package).DESCRIPTOR.services_by_name.values():
            if service.full_name not in found:
                yield Error(
                    f"{service.full_name} is in the contract, and no servicer serves it",
                    hint=f"Add one to rpc.py with @serve(add_{service.name}Servicer_to_server).",
                    id="severable.E006",
                )
