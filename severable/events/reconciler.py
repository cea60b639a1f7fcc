"""The reconciler: compares every feed with the deliveries, and creates those that are missing.

So the broker is only a fast path: if it loses everything, every event still reaches every handler.
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
SLICE = 1.0  # seconds of one call
# An event without a delivery is late or lost. Under overload, events that are merely queued must
# not be delivered a second time, which costs more. An event counts as lost if it is older than
# GRACE, and a later one reached the same handler OVERTAKEN seconds ago, or none did for STALLED.
GRACE = timedelta(seconds=2)
OVERTAKEN, STALLED = 5.0, 15.0

# By handler: when its latest delivered event was seen, and its position. The first entry is the one
# of OVERTAKEN seconds ago.
_arrivals: dict[str, list[tuple[float, feed.Position]]] = {}
_compared_at: dict[str, float] = {}  # by source
outages = Outages(log)


@periodic(seconds=1)
def reconcile() -> bool | None:
    """Compare a page of each feed with the deliveries, longest not compared first, for SLICE.

    Returns True if there is more, False if there was nothing. A feed that fails does not affect
    the others.
    """
    ends, over, results = monotonic() + SLICE, False, list[bool | None]()
    found = feed.by_source(handlers.registered())
    for source in sorted(found, key=lambda each: _compared_at.get(each, 0.0)):
        if over:
            return True
        results.append(_try_to_compare(source, found[source]))
        _compared_at[source] = monotonic()
        over = _compared_at[source] >= ends
    return True if True in results else None if None in results else False


def _try_to_compare(source: str, subscribers: list[handlers.Handler]) -> bool | None:
    try:
        more = _compare(source, subscribers)
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else error
        outages.begin(source, f"the feed of {source} does not respond: {details}")
        return False
    except Exception as error:
        outages.begin(source, f"the feed of {source} cannot be compared", error)
        return False
    outages.end(source, f"the feed of {source} is compared again")
    return more


def _compare(source: str, subscribers: list[handlers.Handler]) -> bool | None:
    """Compare one page. Return True if more can be compared, False if there was nothing."""
    positions = subscriptions.ensure_started(source, subscribers)
    subscribers = [handler for handler in subscribers if handler.name in positions]
    if not subscribers:
        return False
    first = min(positions[handler.name] for handler in subscribers)
    types = handlers.types_of(*(handler.name for handler in subscribers))
    page = feed.read(source, types, first, limit=BATCH)
    compared = {
        handler.name: _create_lost(handler, page, positions[handler.name])
        for handler in subscribers
    }
    feed.advance({name: end for name, end in compared.items() if end > positions[name]})
    more = page.more and min(compared.values()) > first
    return more or (None if page.events else False)


def _create_lost(handler: handlers.Handler, page: feed.Page, start: feed.Position) -> feed.Position:
    """Create the deliveries of lost events. Return the position up to which none is missing."""
    new = [event for event in page.events if feed.position_of(event) > start]
    types = handlers.types_of(handler.name)
    mine = [event for event in new if event.type in types]
    missing = pending.without_delivery(mine, handler) if mine else []
    lost = _lost(handler, mine, missing) if mine else []
    if lost:
        log.warning("the broker lost %d of %d events to %s", len(lost), len(mine), handler.name)
        pending.create_missing(lost, handler)
        feed.count_lost(handler.name, len(lost))
    if len(lost) == len(missing):
        return max(page.end, start)
    late = min({feed.position_of(event) for event in missing} - {feed.position_of(e) for e in lost})
    return max((end for event in mine if (end := feed.position_of(event)) < late), default=start)


def _lost(
    handler: handlers.Handler,
    mine: list[events_pb2.Event],
    missing: list[events_pb2.Event],
) -> list[events_pb2.Event]:
    """Return those missing events that will not arrive any more."""
    ids = {event.id for event in missing}
    arrived = [feed.position_of(event) for event in mine if event.id not in ids]
    last = max(arrived, default=feed.START)
    now, arrivals = monotonic(), _arrivals.setdefault(handler.name, [])
    if not arrivals or last > arrivals[-1][1]:
        arrivals.append((now, last))
    while len(arrivals) > 1 and arrivals[1][0] <= now - OVERTAKEN:
        del arrivals[0]
    first, overtaker = arrivals[0]
    if first > now - OVERTAKEN:
        overtaker = feed.START
    stalled = arrivals[-1][0] <= now - STALLED
    overdue = datetime.now(UTC) - GRACE
    return [
        event
        for event in missing
        if feed.time_of(event) <= overdue and (stalled or feed.position_of(event) < overtaker)
    ]
