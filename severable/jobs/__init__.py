"""Jobs, which are rows with leases and attempts, and the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.jobs import scheduler as scheduler
    from severable.jobs.executors import executes as executes
    from severable.jobs.models import Job as Job
    from severable.jobs.models import NotYet as NotYet
    from severable.jobs.scheduler import periodic as periodic
    from severable.jobs.tasks import enqueue_on_commit as enqueue_on_commit
else:
    __getattr__ = door(
        __name__,
        {
            "Job": "models",
            "NotYet": "models",
            "enqueue_on_commit": "tasks",
            "executes": "executors",
            "periodic": "scheduler",
            "scheduler": "scheduler",
        },
    )

__all__ = [
    "Job",
    "NotYet",
    "enqueue_on_commit",
    "executes",
    "periodic",
    "scheduler",
]
