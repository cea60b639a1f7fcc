"""The Celery application: `celery -A library worker -Q books`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")

from celery import Celery

from severable.events.celery import set_up

app = Celery("library")
set_up(app)
