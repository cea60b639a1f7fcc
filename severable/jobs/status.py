"""The state of this deployment's jobs by kind: what waits, what fails, what is parked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db.models import Count, F, Min, Q
from django.utils import timezone

from severable.jobs.models import Job

# A job that has failed so often keeps failing; a kind that limits its attempts parks it then.
STUCK_ATTEMPTS = 8


@dataclass(frozen=True)
class Jobs:
    """The rows of one kind that are not done. `failing` are those waiting whose last attempt
    failed, `stuck` those of them with STUCK_ATTEMPTS; `seconds` says how long the oldest of the
    `overdue` has been due."""

    waiting: int
    overdue: int
    failing: int
    stuck: int
    parked: int
    seconds: float

    def problems(self, kind: str, lag: float) -> Iterator[str]:
        """Yield what needs attention."""
        if self.parked:
            yield f"{kind}: {self.parked} parked"
        if self.stuck:
            yield f"{kind}: {self.stuck} failed {STUCK_ATTEMPTS} times or more"
        if self.seconds > lag:
            yield f"{kind}: {self.overdue} due, the oldest for {self.seconds:.0f} s"


def kinds() -> dict[str, type[Job]]:
    """Return every kind of job of this deployment by its name, such as "saga.Saga"."""
    return {model._meta.label: model for model in apps.get_models() if issubclass(model, Job)}


def jobs(kind: type[Job]) -> Jobs:
    """Return how one kind gets on. Reads only rows that wait and the index of parked ones."""
    waiting = kind._default_manager.filter(state=Job.State.WAITING)
    failed = ~Q(error="") & Q(attempts__gt=F("granted_attempts"))
    found = waiting.aggregate(
        waiting=Count("pk"),
        failing=Count("pk", filter=failed),
        stuck=Count("pk", filter=failed & Q(attempts__gte=F("granted_attempts") + STUCK_ATTEMPTS)),
    )
    due = kind.due().order_by().aggregate(overdue=Count("pk"), since=Min("due_at"))
    since = due.pop("since")
    age = (timezone.now() - since).total_seconds() if since else 0.0
    parked = kind._default_manager.filter(state=Job.State.PARKED).count()
    return Jobs(**found, **due, parked=parked, seconds=max(0.0, round(age, 1)))
