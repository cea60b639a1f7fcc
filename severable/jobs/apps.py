"""The app config; its label does not collide with another app called "jobs"."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "severable.jobs"
    label = "severable_jobs"
    verbose_name = "jobs"
