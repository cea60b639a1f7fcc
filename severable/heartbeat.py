"""Signs of life of processes that listen at no address: a file that each touches as it works.

A supervisor names the file in SHOP_HEARTBEAT, and takes a process for frozen that leaves it alone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic

SECONDS = 1.0
VARIABLE = "SHOP_HEARTBEAT"

_last = float("-inf")


def beat() -> None:
    """Touch the file, once a second at most. Called from the loops that do the work."""
    global _last  # noqa: PLW0603
    file = os.environ.get(VARIABLE)
    if file and monotonic() - _last >= SECONDS:
        _last = monotonic()
        with suppress(OSError):
            Path(file).touch()


class Heartbeat:
    """The supervisor's view of such a file. What it says of time does not matter, for clocks
    jump: only whether it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = 0

    def __call__(self) -> bool:
        """Return whether the file was touched since the last look."""
        with suppress(OSError):
            touched = self._file.stat().st_mtime_ns
            fresh, self._seen = touched != self._seen, touched
            return fresh
        return False
