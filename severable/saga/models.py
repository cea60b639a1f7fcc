"""The durable state of sagas: where each stands, and the log of what was tried."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from django.db import models
from django.utils import timezone

from severable.jobs.models import Job
from severable.saga import definition


class Saga(Job):
    """One run of a saga. The row is its own queue; whoever holds it drives it."""

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
        default=1, help_text="The attempt in which the present step was reached"
    )
    data = models.JSONField(default=dict)
    refusal = models.JSONField(
        null=True, blank=True, help_text="Why it is compensated: kind, code, detail"
    )
    correlation_id = models.CharField(max_length=64, db_index=True)
    causation_id = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=100, blank=True)
    traceparent = models.CharField(max_length=55, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    max_attempts: ClassVar[int | None] = None  # a saga is never given up: it goes on or back

    class Meta(Job.Meta):
        constraints = [models.UniqueConstraint(fields=["name", "key"], name="saga_saga_key")]

    def __str__(self) -> str:
        return f"{self.name} {self.key}"

    @property
    def definition(self) -> definition.Definition:
        return definition.named(self.name)

    @property
    def queue(self) -> str:
        return self.definition.context

    @property
    def outcome_was_unknown(self) -> bool:
        """Return whether an earlier attempt may have done the present step, so that a domain
        error now
        does not say that nothing has happened."""
        return self.attempts > self.reached_in

    @property
    def ended(self) -> bool:
        return self.state == self.State.DONE

    @classmethod
    def of(cls, name: str, key: Any) -> Self | None:
        """The saga of this name about this thing, if there is one."""
        return cls.objects.filter(name=name, key=key).first()


class SagaLog(models.Model):
    """One attempt at a step of a saga, and its outcome. Append-only."""

    class Action(models.TextChoices):
        EXECUTE = "execute"
        COMPENSATE = "compensate"

    class Outcome(models.TextChoices):
        DONE = "done"
        REFUSED = "refused"
        UNKNOWN = "unknown"

    saga = models.ForeignKey(Saga, on_delete=models.CASCADE, related_name="log")
    step = models.CharField(max_length=50)
    action = models.CharField(max_length=15, choices=Action.choices)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    detail = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]
        verbose_name = "log entry"
        verbose_name_plural = "log"

    def __str__(self) -> str:
        return f"{self.action} {self.step}: {self.outcome}"
