"""Durable jobs: rows with a due time, claimed for a lease.

If the process that claimed a row dies, the row is due again after the lease. Celery's messages only
notify workers that a row is due. All times are compared by the database's clock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any, ClassVar, Self

from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from severable.jobs.executors import executor_of

log = logging.getLogger(__name__)

# No backoff or deferral is longer, so a later due time than this and a lease is invalid.
MAX_DELAY = timedelta(minutes=5)


class LeaseLost(Exception):
    """The lease has expired and another process owns the row: roll back."""


class NotYet(Exception):
    """A precondition is not met yet: retry after `seconds`. The attempt is not counted."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Lease(models.Model):
    """A named lease that at most one process owns at a time, such as the relay's."""

    name = models.CharField(max_length=100, primary_key=True)
    holder = models.CharField(max_length=100)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name

    @classmethod
    def acquire(cls, name: str, holder: str, seconds: float) -> bool:
        """Acquire or renew a lease. Return False if another holder's has not expired.

        A lease that ends later than any holder could have set it is stale: the database's clock
        has been set back since."""
        until = Now() + timedelta(seconds=seconds)
        stale = Q(expires_at__gt=Now() + timedelta(seconds=2 * seconds))
        free = Q(holder=holder) | Q(expires_at__lte=Now()) | stale
        if cls.objects.filter(free, name=name).update(holder=holder, expires_at=until):
            return True
        try:
            with transaction.atomic():
                cls.objects.create(name=name, holder=holder, expires_at=until)
            return True
        except IntegrityError:
            return False

    @classmethod
    def release(cls, name: str, holder: str) -> None:
        """Release a lease, so that the next holder need not wait until it expires."""
        cls.objects.filter(name=name, holder=holder).update(expires_at=Now())


class Job(models.Model):
    """A row of work, due at a time, retried until it is done or, after `max_attempts`, parked.

    The function that executes a subclass's rows is registered with `executes`. `attempts` is
    counted before an attempt starts, so that one that kills its process is counted too; it is also
    the fencing token of the lease.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        PARKED = "parked"

    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    granted_attempts = models.PositiveIntegerField(
        default=0, help_text="Attempts granted beyond the first ones"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    lease: ClassVar[timedelta] = timedelta(seconds=15)
    max_duration: ClassVar[timedelta] = timedelta(minutes=10)  # of a renewed attempt
    max_attempts: ClassVar[int | None] = 8
    unknown_for: ClassVar[timedelta] = timedelta(minutes=10)  # longer than a rolling update

    class Meta:
        abstract = True
        indexes = [
            models.Index(
                fields=["due_at"],
                condition=Q(state="waiting"),
                name="%(class)s_due",
            ),
            models.Index(
                fields=["state"],
                condition=Q(state="parked"),
                name="%(class)s_parked",
            ),
        ]

    @property
    def queue(self) -> str:
        """The context whose worker executes the row. Raises LookupError if this deployment does not
        have the code to execute it."""
        raise TypeError(f"{type(self).__name__} does not define its queue")

    def execute(self) -> None:
        """Run the function registered for this model, outside any transaction."""
        executor_of(type(self))(self)

    @classmethod
    def due(cls) -> models.QuerySet[Self]:
        """Return the rows that are due, longest due first. A due time too far ahead was set before
        the database's clock was set back, and counts as due."""
        objects: models.Manager[Self] = cls._default_manager
        now_due = Q(due_at__lte=Now()) | Q(due_at__gt=Now() + cls.lease + MAX_DELAY)
        return objects.filter(now_due, state=cls.State.WAITING).order_by("due_at")

    @classmethod
    def claim(cls, pk: Any) -> Self | None:
        """Claim a due row for one lease. Return None if it is not due or another process has it."""
        due = cls.due().filter(pk=pk).order_by()
        if cls.max_attempts is not None:
            due = due.filter(attempts__lt=F("granted_attempts") + cls.max_attempts)
        claimed = due.update(attempts=F("attempts") + 1, due_at=Now() + cls.lease)
        objects: models.Manager[Self] = cls._default_manager
        return objects.get(pk=pk) if claimed else None

    @classmethod
    def claim_next(cls) -> Self | None:
        """Claim the row that has been due longest. Return None if there is none, or another process
        was faster."""
        pk = cls.due().values_list("pk", flat=True).first()
        return None if pk is None else cls.claim(pk)

    @classmethod
    def park_exhausted(cls, rows: Iterable[Self]) -> set[Any]:
        """Park those due rows whose last attempt ended with the death of its process. Return their
        keys."""
        if cls.max_attempts is None:
            return set()
        exhausted_keys = {r.pk for r in rows if r.attempts >= r.granted_attempts + cls.max_attempts}
        exhausted = cls.due().filter(attempts__gte=F("granted_attempts") + cls.max_attempts)
        error = "the process died in the last attempt"
        for pk in exhausted_keys:
            parked = exhausted.filter(pk=pk).order_by()
            if parked.update(state=cls.State.PARKED, due_at=None, error=error):
                log.error("%s %s parked: %s", cls._meta.label, pk, error)
        return exhausted_keys

    def park_overdue(self, error: LookupError) -> bool:
        """Park a row that this deployment cannot execute, unless it became due recently: in a
        rolling update, newer processes may be able to."""
        overdue = type(self)._default_manager.filter(
            pk=self.pk, state=self.State.WAITING, due_at__lte=Now() - self.unknown_for
        )
        return bool(overdue.update(state=self.State.PARKED, due_at=None, error=str(error)))

    def acquire(self) -> None:
        """Mark an unsaved row as claimed by its creator."""
        self.attempts = 1
        self.due_at = Now() + self.lease

    def attempt(self) -> bool:
        """Execute a claimed row. Return True if it succeeded; a failure is stored and retried."""
        try:
            self.execute()
        except LeaseLost:
            return False
        except Exception as error:
            self.reschedule(error)
            return False
        return True

    def owned(self) -> models.QuerySet[Self]:
        """Return this row if this attempt still owns it."""
        objects: models.Manager[Self] = type(self)._default_manager
        return objects.filter(pk=self.pk, state=self.State.WAITING, attempts=self.attempts)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease of a claimed row while the block runs, up to `max_duration`.

        For work of unknown length, such as a call to a slow server, that a second worker must not
        start meanwhile. The lease of a dead process still expires soon.
        """
        done = threading.Event()
        renewer = threading.Thread(target=self._renew_until, args=(done,), daemon=True)
        renewer.start()
        try:
            yield
        finally:
            done.set()
            renewer.join()

    def _renew_until(self, done: threading.Event) -> None:
        ends = monotonic() + self.max_duration.total_seconds()
        try:
            while not done.wait(self.lease.total_seconds() / 3) and monotonic() < ends:
                try:
                    self.owned().update(due_at=Now() + self.lease)
                except DatabaseError as error:
                    log.warning("%s %s: not renewed: %s", self._meta.label, self.pk, error)
        finally:
            connection.close()

    def update_if_owned(self, **changes: Any) -> None:
        """Update an owned row. Raises LeaseLost, to roll back the surrounding transaction."""
        if not self.owned().update(**changes):
            raise LeaseLost(f"{self._meta.label} {self.pk}")
        for name, value in changes.items():
            setattr(self, name, value)

    def complete(self, **changes: Any) -> None:
        """Mark an owned row done, in the transaction of the effect. Raises LeaseLost."""
        self.update_if_owned(state=self.State.DONE, due_at=None, error="", **changes)

    def fail(self, error: Exception) -> None:
        """Store and log an error; reschedule, or park after `max_attempts`."""
        text = f"{type(error).__name__}: {error}"
        changes: dict[str, Any] = {"error": text[:2000]}
        limit = self.max_attempts
        parked = limit is not None and self.attempts >= limit + self.granted_attempts
        if parked:
            changes |= {"state": self.State.PARKED, "due_at": None}
        else:
            changes |= {"due_at": Now() + self.backoff()}
        if self.owned().update(**changes):
            self._log_failure(text, parked=parked)

    def _log_failure(self, error: str, *, parked: bool) -> None:
        seconds = self.backoff().total_seconds()
        log.log(
            logging.ERROR if parked else logging.WARNING,
            "%s %s: attempt %d failed: %s; %s",
            self._meta.label,
            self.pk,
            self.attempts,
            " ".join(error.split())[:500],
            "parked" if parked else f"due again in {seconds:.0f} s",
        )

    def reschedule(self, error: Exception) -> None:
        """Store why an attempt failed, and when the row is due again."""
        if isinstance(error, NotYet):
            self.defer(error)
        else:
            self.fail(error)

    def defer(self, why: NotYet) -> None:
        """Reschedule without counting the attempt."""
        self.owned().update(
            due_at=Now() + min(timedelta(seconds=why.seconds), MAX_DELAY),
            granted_attempts=F("granted_attempts") + 1,
            error=str(why)[:2000],
        )

    def backoff(self) -> timedelta:
        """Return the delay after this attempt: 1, 2, 4 … 60 seconds."""
        return timedelta(seconds=min(2 ** min(self.attempts - 1, 6), 60))

    def retry_now(self) -> None:
        """Make a waiting or parked row due now, and grant it as many attempts as a new one.

        `attempts` itself is not reset, because it is the fencing token.
        """
        rows = type(self)._default_manager.filter(pk=self.pk).exclude(state=self.State.DONE)
        rows.update(
            state=self.State.WAITING, granted_attempts=F("attempts"), due_at=Now(), error=""
        )
