"""The context that owns a route, which is the same in every placement."""

from __future__ import annotations

from typing import Any


def context_of(view: Any) -> str:
    """Return the context of a view of apps.<context>.api."""
    return type(view).__module__.split(".")[1]
