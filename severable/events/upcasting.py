"""Upcasters: functions that bring the data of an old event to the current meaning of its type.

A project keeps them beside its contracts, in the module `upcasters`: whoever has a contract needs
them. Events stay as they were appended, and are brought up to date where they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from severable import project

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_MODULE = f"{project.CONTRACTS}.upcasters"
UPCASTERS: dict[str, list[Upcaster]] = (
    import_module(_MODULE).UPCASTERS if find_spec(_MODULE) else {}
)


def current_version(event_type: str) -> int:
    """Return the version in which an event of this type is appended today."""
    return len(UPCASTERS.get(event_type, ())) + 1


def upcast(event_type: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of an event of some version as that of the current one."""
    for upcaster in UPCASTERS.get(event_type, [])[version - 1 :]:
        data = upcaster(data)
    return data
