"""The reconciler: compares every feed with the deliveries, and makes up for what is missing.

It is what makes the broker a fast path only: with the broker wiped, every event still reaches
every handler.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

import grpc

from severable.events import feed, handlers, pending, subscriptions
from severable.jobs.outages import Outages
from severable.jobs.scheduler import periodic
from severable.protos import events_pb2

log = logging.getLogger(__name__)

BATCH = 500
SLICE = 1.0  # seconds, until others have their turn
# An event that has not come is late or lost: a shop with more to do than it can must not do the
# same by a second, dearer way. It counts as lost where it is older than GRACE, and a later one came
# to the same handler OVERTAKEN seconds ago, or nothing has come to that for STALLED seconds.
GRACE = timedelta(seconds=2)
OVERTAKEN, STALLED = 5.0, 15.0

# The last event that had come to each handler, and when: as many of these as tell which was the
# last one OVERTAKEN seconds ago.
_came: dict[str, list[tuple[float, feed.Position]]] = {}


# When the feed of each source was last compared.
_compared: dict[str, float] = {}
outages = Outages(log)


@periodic(seconds=1)
def reconcile() -> bool:
    """Compare a page of the feed of each context that handlers here subscribe to with their
    deliveries; that which was compared longest ago first, until SLICE is over.

    Returns True if there is more. A feed that cannot be compared keeps no other from it.
    """
    ends, over, more = monotonic() + SLICE, False, False
    found = feed.by_source(handlers.registered())
    for source in sorted(found, key=lambda each: _compared.get(each, 0.0)):
        if over:
            return True
        more |= _try_to_compare(source, found[source])
        _compared[source] = monotonic()
        over = _compared[source] >= ends
    return more


def _try_to_compare(source: str, listeners: list[handlers.Handler]) -> bool:
    try:
        more = _compare(source, listeners)
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else error
        outages.begin(source, f"the feed of {source} does not answer: {details}")
        return False
    except Exception as error:
        outages.begin(source, f"the feed of {source} cannot be compared", error)
        return False
    outages.end(source, f"the feed of {source} is compared again")
    return more


def _compare(source: str, listeners: list[handlers.Handler]) -> bool:
    """Compare one page. True if there is more that can be settled."""
    reached = subscriptions.started(source, listeners)
    listeners = [handler for handler in listeners if handler.name in reached]
    if not listeners:
        return False
    first = min(reached[handler.name] for handler in listeners)
    types = handlers.types_of(*(handler.name for handler in listeners))
    events, upto, more = feed.read(source, types, first, limit=BATCH)
    settled = {
        handler.name: _settle(handler, events, upto, reached[handler.name]) for handler in listeners
    }
    feed.advance({name: upto for name, upto in settled.items() if upto > reached[name]})
    return more and min(settled.values()) > first


def _settle(
    handler: handlers.Handler,
    events: list[events_pb2.Event],
    upto: feed.Position,
    reached: feed.Position,
) -> feed.Position:
    """Make up for what is lost. Says up to where nothing is missing now."""
    new = [event for event in events if feed.at(event) > reached]
    types = handlers.types_of(handler.name)
    mine = [event for event in new if event.type in types]
    missing = pending.without_delivery(mine, handler) if mine else []
    lost = _lost(handler, mine, missing) if mine else []
    if lost:
        log.warning("%s had missed %d of %d events", handler.name, len(lost), len(mine))
        pending.expect(lost, handler)
        feed.missed(handler.name, len(lost))
    if len(lost) < len(missing):
        late = min({feed.at(event) for event in missing} - {feed.at(event) for event in lost})
        upto = max((feed.at(event) for event in mine if feed.at(event) < late), default=reached)
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
