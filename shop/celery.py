"""The Celery application: `celery -A shop worker -Q orders`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from celery import Celery

from severable.events.celery import set_up

app = Celery("shop")
set_up(app)
