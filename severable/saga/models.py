"""The durable state of sagas: the next step of each, and the log of what was tried."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

from django.db import models
from django.utils import timezone

from severable.errors import DomainError, rebuild
from severable.jobs.models import Job
from severable.saga import definition


class Action(models.TextChoices):
    """The kinds of attempts at a step."""

    EXECUTE = "execute"
    COMPENSATE = "compensate"


class Outcome(models.TextChoices):
    """The outcomes of an attempt at a step. FAILED is a domain error."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


class LogEntry(NamedTuple):
    """An attempt at a step of a saga, and its outcome; of repetitions whose outcome was unknown
    too, the last one."""

    step: str
    action: str
    outcome: str
    at: str  # ISO 8601
    detail: str = ""
    times: int = 1

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.at)


class Saga(Job):
    """One run of a saga. The row is its own queue; the process that holds it drives the saga."""

    class Status(models.TextChoices):
        RUNNING = "running"
        COMPENSATING = "compensating"
        COMPLETED = "completed"
        COMPENSATED = "compensated"

    name = models.CharField(max_length=50)
    key = models.UUIDField(help_text="What it is about, such as the order's id")
    status = models.CharField(max_length=15, choices=Status.choices, default=Status.RUNNING)
    position = models.SmallIntegerField(
        default=0, help_text="The step to execute or compensate next"
    )
    reached_in = models.PositiveIntegerField(
        default=1, help_text="The attempt in which the current step was reached"
    )
    data = models.JSONField(default=dict)
    log = models.JSONField(default=list, help_text="The attempts at its steps")
    failure = models.JSONField(
        null=True, blank=True, help_text="Why it is compensated: kind, code, detail"
    )
    correlation_id = models.CharField(max_length=64, db_index=True)
    causation_id = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=100, blank=True)
    traceparent = models.CharField(max_length=55, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    max_attempts: ClassVar[int | None] = None  # a saga is repeated until it ends

    class Meta(Job.Meta):
        constraints = [models.UniqueConstraint(fields=["key", "name"], name="saga_saga_key")]

    def __str__(self) -> str:
        return f"{self.name} {self.key}"

    @property
    def definition(self) -> definition.Definition[Any]:
        return definition.named(self.name)

    @property
    def queue(self) -> str:
        return self.definition.context

    @property
    def outcome_was_unknown(self) -> bool:
        """Return whether an earlier attempt may have executed the current step. If so, a domain
        error does not mean that the step had no effect."""
        return self.attempts > self.reached_in

    @property
    def ended(self) -> bool:
        return self.state == self.State.DONE

    @property
    def domain_error(self) -> DomainError | None:
        """Return why the saga is or was compensated, or None."""
        return rebuild(**self.failure) if self.failure else None

    @property
    def entries(self) -> list[LogEntry]:
        """Return the log, oldest entry first."""
        return [LogEntry(**{k: v for k, v in e.items() if k in LogEntry._fields}) for e in self.log]

    def logged(self, step: str, action: str, outcome: str, detail: str = "") -> list[Any]:
        """Return the log with one more entry. An outcome that stays unknown is one entry, however
        often the step is repeated: a row must not grow without bound."""
        entries, times = list(self.log), 1
        last = self.entries[-1] if entries else None
        if outcome == Outcome.UNKNOWN and last and last[:3] == (step, action, outcome):
            times = last.times + 1
            entries.pop()
        now = timezone.now().isoformat()
        return [*entries, LogEntry(step, action, outcome, now, detail, times)._asdict()]

    @classmethod
    def of(cls, name: str, key: Any) -> Self | None:
        """Return the saga of this name about this object, or None."""
        return cls.objects.filter(name=name, key=key).first()
