"""Outages: repeated failures are logged when they begin and when they end."""

from __future__ import annotations

import logging


class Outages:
    """The parts that fail at present, by name."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._present: set[str] = set()

    def begin(self, name: str, message: str, unexpected: Exception | None = None) -> None:
        """Log a failure if the last attempt succeeded: a warning, or an error with a traceback."""
        if name in self._present:
            return
        self._present.add(name)
        level = logging.ERROR if unexpected else logging.WARNING
        self._log.log(level, message, exc_info=unexpected)

    def end(self, name: str, message: str) -> None:
        """Log a success if the last attempt failed."""
        if name in self._present:
            self._present.remove(name)
            self._log.info(message)
