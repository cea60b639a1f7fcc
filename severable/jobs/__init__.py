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
    from severable.jobs.tasks import run_after_commit as run_after_commit
else:
    __getattr__ = door(
        __name__,
        {
            "Job": "models",
            "NotYet": "models",
            "executes": "executors",
            "periodic": "scheduler",
            "run_after_commit": "tasks",
            "scheduler": "scheduler",
        },
    )

__all__ = [
    "Job",
    "NotYet",
    "executes",
    "periodic",
    "run_after_commit",
    "scheduler",
]
