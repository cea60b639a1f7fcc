"""A read-through cache of other contexts' responses, invalidated by their events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.caching.stubs import cached_stub as cached_stub
else:
    __getattr__ = door(
        __name__,
        {
            "cached_stub": "stubs",
        },
    )

__all__ = [
    "cached_stub",
]
