"""Names the app so that it collides with no other app called "jobs"."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "severable.jobs"
    label = "severable_jobs"
    verbose_name = "jobs"
