"""The state of this deployment's jobs, by kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db.models import Count, F, Min, Q
from django.utils import timezone

from severable.jobs.models import Job

# A job with this many failed attempts counts as stuck; most kinds park it then.
STUCK_ATTEMPTS = 8


@dataclass(frozen=True)
class Jobs:
    """The number of rows of one kind that are not done. `failing` rows wait after a failed attempt,
    `stuck` ones after STUCK_ATTEMPTS of them; the oldest `overdue` row has been due for
    `seconds`."""

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
    """Return the state of one kind. Reads only waiting rows and the index of parked ones."""
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
