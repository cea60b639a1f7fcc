"""The Celery task that executes a due row. Its messages may be lost: the scheduler repeats them."""

from __future__ import annotations

from functools import partial
from time import monotonic

from celery import shared_task
from django.apps import apps
from django.db import transaction

from severable.jobs.models import Job, NotYet


@shared_task(name="severable.jobs.run")
def run(label: str, pk: str) -> None:
    """Execute a row, or if it is no longer due, the row of its kind that has been due longest.

    So a worker that has fallen behind is not kept busy by repeated messages for rows that are done.
    """
    model = apps.get_model(label)
    assert issubclass(model, Job)
    job = model.claim(pk) or model.claim_next()
    if job:
        job.attempt()


def enqueue(job: Job) -> None:
    """Notify a worker that a row is due."""
    run.apply_async((job._meta.label, str(job.pk)), queue=job.queue, retry=False)


def run_after_commit(job: Job) -> None:
    """Insert a job, and execute it in this worker right after the surrounding transaction's commit.

    It is inserted as claimed, so that it needs no message and no claim; if the process dies, it is
    due after its lease. For workers only: a request would wait for it.
    """
    job.acquire()
    job.save(force_insert=True)
    start_by = monotonic() + job.lease.total_seconds() / 3
    transaction.on_commit(partial(_run_claimed, job, start_by), robust=True)


def _run_claimed(job: Job, start_by: float) -> None:
    """Execute a job, unless jobs before it took too long for its lease: then another worker can."""
    if monotonic() < start_by:
        job.attempt()
    else:
        job.defer(NotYet("the worker was busy", 0))
