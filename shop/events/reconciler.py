"""The reconciler: compares every feed with the deliveries, and makes up for what is missing.

It is what makes the broker a fast path only: with the broker wiped, every event still reaches
every handler.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from protos import events_pb2
from shop.events import delivery, feed, handlers
from shop.jobs.clock import every

log = logging.getLogger(__name__)

# How long an event has to arrive through the broker before it counts as missing.
GRACE = timedelta(seconds=2)
BATCH = 500


@every(seconds=1)
def reconcile() -> None:
    """Compare the feed of each context that handlers here listen to with their deliveries."""
    for source, listeners in feed.by_source(handlers.registered()).items():
        while _compare(source, listeners) == BATCH:
            pass


def _compare(source: str, listeners: list[handlers.Handler]) -> int:
    reached = feed.reached()
    events, upto = _read(source, listeners, after=min(reached[h.name] for h in listeners))
    for handler in listeners:
        new = [event for event in events if feed.at(event) > reached[handler.name]]
        mine = [event for event in new if event.type in handlers.types_of(handler.name)]
        missing = delivery.expect(mine, handler) if mine else 0
        # What others hear is passed by too, now and then, so as not to be read every time.
        if new or upto[1] - reached[handler.name][1] > BATCH:
            feed.remember(handler.name, upto)
        if missing:
            log.warning("%s had missed %d of %d events", handler.name, missing, len(mine))
            feed.missed(handler.name, missing)
    return len(events)


def _read(
    source: str, listeners: list[handlers.Handler], after: feed.Position
) -> tuple[list[events_pb2.Event], feed.Position]:
    """What has had the time to arrive, and the position up to which that is all."""
    types = handlers.types_of(*(handler.name for handler in listeners))
    events, upto = feed.read(source, types, after, limit=BATCH)
    settled = datetime.now(UTC) - GRACE
    old = list(takewhile(lambda event: feed.time(event) <= settled, events))
    if len(old) < len(events):
        upto = feed.at(old[-1]) if old else after
    return old, upto
