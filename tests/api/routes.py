"""The routes of the public API, as the URL resolver and the OpenAPI document have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

from tests.samples import Known, MissingSample

METHODS = ("get", "post", "put", "patch", "delete")
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\{(\w+)\}")

# Not of the public API: pages for people, and what deployments say to each other. The admin and
# the internal API have tests of their own.
PAGES = ("admin/", "api/login/", "api/logout/", "api/users/confirm-email/page", "^internal/")
STOREFRONT = "apps.gateway.storefront."


def served() -> dict[tuple[str, str], Any]:
    """The view of every method and path that this deployment serves: ("POST", "/api/orders")."""
    found = {}
    for pattern, view in patterns(get_resolver().url_patterns):
        if pattern.startswith(PAGES) or view.__module__.startswith(STOREFRONT) or not pattern:
            continue
        path = simplify_regex(pattern) if "^" in pattern else f"/{pattern}"
        if not re.search(r"<(\w+:)?format>", path):  # another spelling of the same route
            found |= {(method.upper(), path): view for method in methods(view)}
    return found


def view_class(view: Any) -> Any:
    """The class of a view, also of a ViewSet's; None for a function."""
    return getattr(view, "cls", None) or getattr(view, "view_class", None)


def methods(view: Any) -> list[str]:
    """The methods of a view: of a ViewSet, those that its router or `as_view` has bound."""
    bound = getattr(view, "actions", None)
    found = [m for m in METHODS if (m in bound if bound else hasattr(view_class(view), m))]
    return found or ["get"]


def patterns(found: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every path and view of URL patterns, those of included ones too."""
    for pattern in found:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


def in_document(path: str) -> str:
    """A path as the OpenAPI document has it: "/api/orders/{order_id}"."""
    return PARAMETER.sub(lambda found: f"{{{found[1] or found[2]}}}", path)


def at(path: str, known: Known) -> str:
    """A path with the values of objects that there are. Raises MissingSample."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in known:
            like = PARAMETER.sub("{}", path)
            views = {PARAMETER.sub("{}", route): view for (_, route), view in served().items()}
            module = views[like].__module__ if like in views else ""
            add = f'add {{"{name}": make}} to PARAMETERS'
            raise MissingSample(module, f"no {name} is known for {path}", add)
        return known[name]

    return PARAMETER.sub(value, path)


def documented() -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the OpenAPI document, with its references resolved."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    return {
        (method.upper(), path): _resolved(operation, schema)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }


def _resolved(node: Any, schema: dict[str, Any]) -> Any:
    if isinstance(node, dict) and "$ref" in node:
        return _resolved(schema["components"]["schemas"][node["$ref"].rpartition("/")[2]], schema)
    if isinstance(node, dict):
        return {key: _resolved(value, schema) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, schema) for value in node]
    return node
