"""The routes of the public API, as the URL resolver and the OpenAPI document have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")

# Not of the public API: pages for people, and what deployments say to each other. The admin and
# the internal API have tests of their own.
PAGES = ("admin/", "api/login/", "api/logout/", "api/users/confirm-email/page", "^internal/")


def served() -> Iterator[tuple[str, str]]:
    """Every method and path that this deployment serves, such as ("POST", "/api/orders")."""
    for path, view in patterns(get_resolver().url_patterns):
        if not path or path.startswith(PAGES):
            continue
        methods = [m for m in METHODS if hasattr(getattr(view, "view_class", None), m)]
        for method in methods or ["get"]:
            yield method.upper(), f"/{path}"


def patterns(found: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every path and view of URL patterns, those of included ones too."""
    for pattern in found:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield path, pattern.callback


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
