"""The Celery task that executes a due row. Its messages may be lost: the scheduler repeats them."""

from __future__ import annotations

from functools import partial

from celery import shared_task
from django.apps import apps
from django.db import transaction

from severable.jobs.models import Job


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


def enqueue_on_commit(job: Job) -> None:
    """Notify a worker once the surrounding transaction has committed. For workers only: a request
    never publishes."""
    transaction.on_commit(partial(enqueue, job), robust=True)
