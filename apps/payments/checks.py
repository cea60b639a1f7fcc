"""The check of PAYMENT_PROVIDER by `manage.py check --deploy`."""

import inspect
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.utils.module_loading import import_string

from apps.payments.providers import Provider, TestProvider


@register(Tags.security, deploy=True)
def payment_provider(**kwargs: Any) -> list[CheckMessage]:
    """Report a provider that does not exist, has another interface, or moves no money."""
    wrong = _complaint(settings.PAYMENT_PROVIDER)
    return [Error(f"PAYMENT_PROVIDER: {wrong}", id="payments.E001")] if wrong else []


def _complaint(path: str) -> str:
    try:
        found = import_string(path)
    except Exception as error:  # its module may raise any
        return str(error)
    if found is TestProvider:
        return f"{path} is for development: no money moves"
    try:
        inspect.signature(found).bind()
        for name, method in inspect.getmembers(Provider, inspect.isfunction):
            if not name.startswith("_"):
                parameters = list(inspect.signature(method).parameters)[1:]
                inspect.signature(getattr(found, name)).bind(None, **dict.fromkeys(parameters))
    except (AttributeError, TypeError, ValueError) as error:
        return f"{path} does not implement apps.payments.providers.Provider: {error}"
    return ""
