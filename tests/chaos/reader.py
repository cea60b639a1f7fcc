"""A subscriber in a process of its own, to be killed: `python -m tests.chaos.reader <name>`.

What it has seen of the orders' feed, and how far it came, it notes in one transaction.
"""

from __future__ import annotations

import os
import sys
import time

import django

SEEN = "chaos_seen"  # number, reader, event_id, stream, version
PAGE = 50


def read_on(name: str) -> bool:
    """Read one page. False where there is nothing new."""
    from django.db import connection, transaction

    from severable.events import feed

    after = feed.positions()[name]
    events = feed.read("orders", [], after, PAGE).events
    for event in events:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {SEEN} (reader, event_id, stream, version) VALUES (%s, %s, %s, %s)",
                [name, event.id, event.subject, event.sequence],
            )
            feed.set_position(name, feed.position_of(event))
    return bool(events)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    while True:
        if not read_on(sys.argv[1]):
            time.sleep(0.02)
