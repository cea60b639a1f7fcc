"""Work in the admin: what every kind of job shows and lets staff do, and who holds which lease."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from severable.admin.site import Record, label, row_action
from severable.errors import Conflict
from severable.jobs.models import Job, Lease


class NothingToRetry(Conflict):
    """It is done."""

    code = "nothing_to_retry"


def try_again(job: Job) -> None:
    """Make a job due now. Raises NothingToRetry."""
    if job.state == Job.State.DONE:
        raise NothingToRetry("This is done: there is nothing to try again.")
    job.retry_now()


class JobAdmin(Record):
    """A kind of job: where each stands, and a way to have it tried at once."""

    ordering = ["-pk"]
    list_filter: list[Any] = ["state"]
    actions = ["retry"]
    actions_detail = ["retry_one"]

    retry, retry_one = row_action(try_again, "Retry now", "due now", icon="refresh")

    @admin.display(description="state", ordering="state")
    def shown_state(self, job: Any) -> str:
        return label(job.state)


@admin.register(Lease)
class LeaseAdmin(Record):
    icon = "key"
    list_display = ["name", "holder", "expires_at"]
    search_fields = ["name"]
