"""The reconciler: compares every feed with the deliveries, and makes up for what is missing.

It is what makes the broker a fast path only: with the broker wiped, every event still reaches
every handler.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

from protos import events_pb2
from shop.events import delivery, feed, handlers
from shop.jobs.clock import every

log = logging.getLogger(__name__)

BATCH = 500
# An event that has not come is late or lost: a shop with more to do than it can must not do the
# same by a second, dearer way. It counts as lost where it is older than GRACE, and a later one came
# to the same handler OVERTAKEN seconds ago, or nothing has come to that for STALLED seconds.
GRACE = timedelta(seconds=2)
OVERTAKEN, STALLED = 5.0, 15.0

# The last event that had come to each handler, and when: as many of these as tell which was the
# last one OVERTAKEN seconds ago.
_came: dict[str, list[tuple[float, feed.Position]]] = {}


@every(seconds=1)
def reconcile() -> None:
    """Compare the feed of each context that handlers here listen to with their deliveries."""
    for source, listeners in feed.by_source(handlers.registered()).items():
        while _compare(source, listeners):
            pass


def _compare(source: str, listeners: list[handlers.Handler]) -> bool:
    """Whether there is more that can be settled."""
    reached = feed.reached()
    first = min(reached[handler.name] for handler in listeners)
    types = handlers.types_of(*(handler.name for handler in listeners))
    events, upto = feed.read(source, types, first, limit=BATCH)
    settled = [_settle(handler, events, upto, reached[handler.name]) for handler in listeners]
    return len(events) == BATCH and min(settled) > first


def _settle(
    handler: handlers.Handler,
    events: list[events_pb2.Event],
    upto: feed.Position,
    reached: feed.Position,
) -> feed.Position:
    """Make up for what is lost. Says up to where nothing is missing now."""
    new = [event for event in events if feed.at(event) > reached]
    mine = [event for event in new if event.type in handlers.types_of(handler.name)]
    missing = delivery.without_delivery(mine, handler) if mine else []
    lost = _lost(handler, mine, missing) if mine else []
    if lost:
        log.warning("%s had missed %d of %d events", handler.name, len(lost), len(mine))
        delivery.expect(lost, handler)
        feed.missed(handler.name, len(lost))
    if len(lost) < len(missing):
        late = min({feed.at(event) for event in missing} - {feed.at(event) for event in lost})
        upto = max((feed.at(event) for event in mine if feed.at(event) < late), default=reached)
    # What others hear is passed by too, now and then, so as not to be read every time.
    if upto > reached and (new or upto[1] - reached[1] > BATCH):
        feed.remember(handler.name, upto)
    return max(upto, reached)


def _lost(
    handler: handlers.Handler,
    mine: list[events_pb2.Event],
    missing: list[events_pb2.Event],
) -> list[events_pb2.Event]:
    """Those of the missing that will not come any more."""
    ids = {event.id for event in missing}
    last = max((feed.at(event) for event in mine if event.id not in ids), default=feed.START)
    now, came = monotonic(), _came.setdefault(handler.name, [])
    if not came or last > came[-1][1]:
        came.append((now, last))
    while len(came) > 1 and came[1][0] <= now - OVERTAKEN:
        del came[0]
    first, overtaker = came[0]
    if first > now - OVERTAKEN:
        overtaker = feed.START
    stalled = came[-1][0] <= now - STALLED
    overdue = datetime.now(UTC) - GRACE
    return [
        event
        for event in missing
        if feed.time(event) <= overdue and (stalled or feed.at(event) < overtaker)
    ]
