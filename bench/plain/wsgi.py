"""The entry point of the web process: `granian --interface wsgi bench.plain.wsgi:application`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from bench.plain.celery import app as celery_app

__all__ = ["application", "celery_app"]  # shared_task needs the Celery application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.plain.settings")
application = get_wsgi_application()
