"""The heartbeat of a process: a file that it touches while it works, named by SHOP_HEARTBEAT.

The supervisor considers a process frozen if the file does not change. Elsewhere a probe checks the
file's age: `python -m severable.heartbeat --max-age 30`.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, time

SECONDS = 1.0
VARIABLE = "SHOP_HEARTBEAT"

_last = float("-inf")


def beat() -> None:
    """Touch the file, at most once a second. Called in the main loops of a process."""
    global _last  # noqa: PLW0603
    file = os.environ.get(VARIABLE)
    if file and monotonic() - _last >= SECONDS:
        _last = monotonic()
        with suppress(OSError):
            Path(file).touch()


class Heartbeat:
    """The supervisor's check of the file: only changes count, not its time, because clocks can
    jump."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = 0

    def __call__(self) -> bool:
        """Return whether the file was touched since the last check."""
        with suppress(OSError):
            touched = self._file.stat().st_mtime_ns
            fresh, self._seen = touched != self._seen, touched
            return fresh
        return False


def complaint(file: str | None, max_age: float) -> str:
    """Return why a process counts as frozen, or "" if it does not. `max_age` is in seconds.

    Both times come from the clock of one kernel, even in containers. If that clock is set forward
    or back, the file seems old or from the future until the next beat a second later: let a probe
    fail more than once before a restart.
    """
    if not file:
        return f"{VARIABLE} is not set"
    try:
        age = time() - Path(file).stat().st_mtime
    except OSError as error:
        return f"{file}: {error.strerror}"
    return f"{file} was touched {age:.0f} s ago" if abs(age) > max_age else ""


def main() -> None:
    """Exit with 0 if the process is alive, else with 1 and the reason."""
    parser = argparse.ArgumentParser(prog="severable.heartbeat", description=main.__doc__)
    parser.add_argument("--max-age", type=float, default=30.0, help="seconds (default: 30)")
    sys.exit(complaint(os.environ.get(VARIABLE), parser.parse_args().max_age) or None)


if __name__ == "__main__":
    main()
