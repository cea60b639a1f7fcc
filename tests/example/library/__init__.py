"""A library: a project that uses the package, and has nothing of the shop."""

from library.celery import app as celery_app

__all__ = ["celery_app"]
