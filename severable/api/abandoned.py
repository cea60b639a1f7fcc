"""Claims of idempotency keys that were not released because the database was down."""

from __future__ import annotations

import threading
from time import monotonic
from uuid import UUID

from django.db import Error, connection
from django.db.models.functions import Now

from severable.api.models import LOCK, IdempotencyKey

PAUSE = 0.1  # seconds between two attempts


class Abandoned:
    """The claims of this process whose executions have ended but whose locks have not.

    This process can claim such a key again at once. A thread releases the locks for the other
    processes as soon as the database responds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[tuple[UUID, UUID], float] = {}
        self._thread: threading.Thread | None = None

    def add(self, key: IdempotencyKey) -> None:
        """Release the lock of a claim in the background."""
        with self._lock:
            self._until[key.operation_id, key.claim] = monotonic() + LOCK.total_seconds()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="abandoned", daemon=True)
                self._thread.start()

    def claims(self) -> list[UUID]:
        """Return the claims whose executions have ended, whatever the database contains."""
        return [claim for _, claim in list(self._until)]

    def wait(self, timeout: float = 30) -> None:
        """Return when all locks are released, or after a timeout in seconds."""
        thread = self._thread
        if thread:
            thread.join(timeout)

    def _run(self) -> None:
        while not self._done():
            try:
                self._release(list(self._until))
            except Error:
                threading.Event().wait(PAUSE)
            finally:
                connection.close()

    def _done(self) -> bool:
        with self._lock:
            over = [claim for claim, until in self._until.items() if until <= monotonic()]
            for claim in over:  # its lock has expired
                del self._until[claim]
            if not self._until:
                self._thread = None
            return not self._until

    def _release(self, claims: list[tuple[UUID, UUID]]) -> None:
        IdempotencyKey.objects.filter(
            pk__in=[key for key, _ in claims], claim__in=[claim for _, claim in claims], status=None
        ).update(locked_until=Now())
        with self._lock:
            for claim in claims:
                self._until.pop(claim, None)


abandoned = Abandoned()
