"""Work that outlives a process: rows that are due, and leases that say who may work on what.

A row is its own queue. It is due at a time; whoever claims it holds it for a lease; where
that one dies, it is due again. Celery only brings the news that a row is due.
All times are compared by the database's clock, so that no process's clock matters.
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

# No lease, backoff or deferral puts a due time further ahead than this, beyond the job's own lease.
MAX_DELAY = timedelta(minutes=5)


class LeaseLost(Exception):
    """Somebody else holds this by now: what was being done must be rolled back."""


class NotYet(Exception):
    """Something else has to be done first: try again after so many seconds. Costs no attempt."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


class Lease(models.Model):
    """A named right that at most one process has at a time, such as being the relay."""

    name = models.CharField(max_length=100, primary_key=True)
    holder = models.CharField(max_length=100)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name

    @classmethod
    def acquire(cls, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease. False if another holder's has not run out.

        One that ends later than any holder could have asked for is stale: the database's clock
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
        """Give a lease back, so that the next holder need not wait for its end."""
        cls.objects.filter(name=name, holder=holder).update(expires_at=Now())


class Job(models.Model):
    """A row of work: due at a time, tried until it is done or, after `max_attempts`, parked.

    The function that executes a subclass's rows is registered with `executes`. `attempts` is
    counted before an attempt begins, so that one which kills its process is counted too; it is also
    the fencing token that tells the holder from a late one.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        PARKED = "parked"

    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    granted_attempts = models.PositiveIntegerField(
        default=0, help_text="Granted by hand, beyond the first ones"
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
        """The context whose worker does this. Raises LookupError if none of this deployment does,
        since the code for it is gone or has moved away."""
        raise TypeError(f"{type(self).__name__} does not say whose worker does it")

    def execute(self) -> None:
        """Run what `executes` has registered for this model, outside any transaction."""
        executor_of(type(self))(self)

    @classmethod
    def due(cls) -> models.QuerySet[Self]:
        """Return what should be worked on now, longest due first. A due time that lies too far
        ahead is from before the database's clock was set back: it counts as reached."""
        objects: models.Manager[Self] = cls._default_manager
        now_due = Q(due_at__lte=Now()) | Q(due_at__gt=Now() + cls.lease + MAX_DELAY)
        return objects.filter(now_due, state=cls.State.WAITING).order_by("due_at")

    @classmethod
    def claim(cls, pk: Any) -> Self | None:
        """Take a due row for one lease. None where it is not due, or somebody else took it."""
        due = cls.due().filter(pk=pk).order_by()
        if cls.max_attempts is not None:
            due = due.filter(attempts__lt=F("granted_attempts") + cls.max_attempts)
        taken = due.update(attempts=F("attempts") + 1, due_at=Now() + cls.lease)
        objects: models.Manager[Self] = cls._default_manager
        return objects.get(pk=pk) if taken else None

    @classmethod
    def claim_next(cls) -> Self | None:
        """Claim the row that has been due longest. Return None if there is none, or another process
        was faster."""
        pk = cls.due().values_list("pk", flat=True).first()
        return None if pk is None else cls.claim(pk)

    @classmethod
    def park_exhausted(cls, rows: Iterable[Self]) -> set[Any]:
        """Park those of some due rows that have had their last attempt: the process that made it
        has died. Returns their keys."""
        if cls.max_attempts is None:
            return set()
        spent = {r.pk for r in rows if r.attempts >= r.granted_attempts + cls.max_attempts}
        exhausted = cls.due().filter(attempts__gte=F("granted_attempts") + cls.max_attempts)
        error = "every attempt ended without a word"
        for pk in spent:
            parked = exhausted.filter(pk=pk).order_by()
            if parked.update(state=cls.State.PARKED, due_at=None, error=error):
                log.error("%s %s parked: %s", cls._meta.label, pk, error)
        return spent

    def park_overdue(self, error: LookupError) -> bool:
        """Park a row that this deployment cannot execute, unless it became due only lately: in a
        rolling update, newer processes may know what to do with it."""
        overdue = type(self)._default_manager.filter(
            pk=self.pk, state=self.State.WAITING, due_at__lte=Now() - self.unknown_for
        )
        return bool(overdue.update(state=self.State.PARKED, due_at=None, error=str(error)))

    def acquire(self) -> None:
        """Make a row that is not saved yet one that its creator has already claimed."""
        self.attempts = 1
        self.due_at = Now() + self.lease

    def attempt(self) -> bool:
        """Work on a claimed row. True where it is done; a failure is kept and tried again."""
        try:
            self.execute()
        except LeaseLost:
            return False
        except Exception as error:
            self.reschedule(error)
            return False
        return True

    def owned(self) -> models.QuerySet[Self]:
        """This row, where this attempt still holds it."""
        objects: models.Manager[Self] = type(self)._default_manager
        return objects.filter(pk=self.pk, state=self.State.WAITING, attempts=self.attempts)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease of a claimed row for as long as the block runs, up to `max_duration`.

        For work of unknown length, such as a conversation with a slow server: a second worker
        would start it again. The lease of a process that has died still ends soon.
        """
        done = threading.Event()
        keeper = threading.Thread(target=self._renew_until, args=(done,), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

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
        """Change a held row. Raises LeaseLost, for the transaction around to roll back."""
        if not self.owned().update(**changes):
            raise LeaseLost(f"{self._meta.label} {self.pk}")
        for name, value in changes.items():
            setattr(self, name, value)

    def complete(self, **changes: Any) -> None:
        """Mark a held row done, in the transaction of the effect. Raises LeaseLost."""
        self.update_if_owned(state=self.State.DONE, due_at=None, error="", **changes)

    def fail(self, error: Exception) -> None:
        """Keep the error and log it; due again later, or parked after `max_attempts`."""
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
        """An attempt was not the last: due again, or parked."""
        if isinstance(error, NotYet):
            self.defer(error)
        else:
            self.fail(error)

    def defer(self, why: NotYet) -> None:
        """Due again after a while, however often."""
        self.owned().update(
            due_at=Now() + min(timedelta(seconds=why.seconds), MAX_DELAY),
            granted_attempts=F("granted_attempts") + 1,
            error=str(why)[:2000],
        )

    def backoff(self) -> timedelta:
        """Return how long to wait after this attempt: 1, 2, 4 … 60 seconds."""
        return timedelta(seconds=min(2 ** min(self.attempts - 1, 6), 60))

    def retry_now(self) -> None:
        """Make a waiting or parked row due at once, and grant it as many attempts as a new one.

        `attempts` itself goes on counting: it tells a late holder from the present one.
        """
        rows = type(self)._default_manager.filter(pk=self.pk).exclude(state=self.State.DONE)
        rows.update(
            state=self.State.WAITING, granted_attempts=F("attempts"), due_at=Now(), error=""
        )
