"""Request ids, traces and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.telemetry import correlation as correlation
    from severable.telemetry import tracing as tracing
    from severable.telemetry.middleware import PROBES as PROBES
else:
    __getattr__ = door(
        __name__,
        {
            "PROBES": "middleware",
            "correlation": "correlation",
            "tracing": "tracing",
        },
    )

__all__ = [
    "PROBES",
    "correlation",
    "tracing",
]
