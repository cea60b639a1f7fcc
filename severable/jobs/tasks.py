"""Celery brings the news that a row is due. Lost news is harmless: the clock brings it again."""

from __future__ import annotations

from functools import partial

from celery import shared_task
from django.apps import apps
from django.db import transaction

from severable.jobs.models import Job


@shared_task(name="severable.jobs.run")
def run(label: str, pk: str) -> None:
    """Execute a row, or if it is no longer due, the one of its kind that has been due longest.

    The clock enqueues waiting rows again and again. A worker that has fallen behind would be busy
    with messages of rows that are done long ago, while others wait at the end of its queue.
    """
    model = apps.get_model(label)
    assert issubclass(model, Job)
    job = model.claim(pk) or model.claim_next()
    if job:
        job.attempt()


def enqueue(job: Job) -> None:
    """Tell a worker that a row is due."""
    run.apply_async((job._meta.label, str(job.pk)), queue=job.queue, retry=False)


def enqueue_on_commit(job: Job) -> None:
    """The same, once the surrounding transaction has committed. For workers, not for requests:
    a request never publishes."""

    transaction.on_commit(partial(enqueue, job), robust=True)
