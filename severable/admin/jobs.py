"""The admin of jobs and leases."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from severable.admin.columns import state_column
from severable.admin.site import Record, row_action
from severable.errors import Conflict
from severable.jobs.models import Job, Lease


class NothingToRetry(Conflict):
    """The job is done."""

    code = "nothing_to_retry"


def retry_job(job: Job) -> None:
    """Make a job due now. Raises NothingToRetry."""
    if job.state == Job.State.DONE:
        raise NothingToRetry("This job is done: there is nothing to retry.")
    job.retry_now()


class JobAdmin(Record):
    """The admin of a kind of job, with its state and an action to retry it at once."""

    ordering = ["-pk"]
    list_filter: list[Any] = ["state"]
    actions = ["retry"]
    actions_detail = ["retry_one"]

    retry, retry_one = row_action(retry_job, "Retry now", "due now", icon="refresh")

    shown_state = state_column("state")


@admin.register(Lease)
class LeaseAdmin(Record):
    icon = "key"
    list_display = ["name", "holder", "expires_at"]
    search_fields = ["name"]
