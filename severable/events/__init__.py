"""Domain events: the event store, its relay, and deliveries to handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.events import handlers as handlers
    from severable.events.envelope import type_of as type_of
    from severable.events.handlers import on as on
    from severable.events.models import Event as Event
    from severable.events.store import append as append
else:
    __getattr__ = door(
        __name__,
        {
            "Event": "models",
            "append": "store",
            "handlers": "handlers",
            "on": "handlers",
            "type_of": "envelope",
        },
    )

__all__ = [
    "Event",
    "append",
    "handlers",
    "on",
    "type_of",
]
