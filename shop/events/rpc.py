"""The feed: a context's events, in commit order, from any position."""

from __future__ import annotations

from typing import Any

from protos import events_pb2
from protos.events_pb2_grpc import EventFeedServicer, add_EventFeedServicer_to_server
from shop.events import transactions
from shop.events.models import Event, EventQuerySet
from shop.events.store import envelope, position
from shop.refusal import Conflict
from shop.rpc.registry import serve

MOST = 1000


class PositionNotGiven(Conflict):
    """The reader has come further than this feed: what is appended next would be hidden."""

    code = "position_not_given"


@serve(add_EventFeedServicer_to_server)
class Feed(EventFeedServicer):
    def Read(self, request: events_pb2.ReadRequest, context: Any) -> events_pb2.ReadResponse:
        limit = min(request.limit or MOST, MOST)
        if request.subject:
            return _of_stream(request, limit)
        after = Event.objects.after(request.after.transaction, request.after.id)
        last = after.last()  # first, so that nothing appears below it in between
        if not last and request.after.transaction >= transactions.upcoming():
            raise PositionNotGiven(
                f"The position {request.after.transaction}:{request.after.id} was not given by "
                f"this database of {request.source}, or its clock is behind: see that the clock "
                "is right, then run `manage.py events renumber` there."
            )
        found = list(_wanted(after, request)[:limit])
        if len(found) == limit or not last:
            last = found[-1] if found else None
        return events_pb2.ReadResponse(
            events=[envelope(event) for event in found],
            reached=position(last) if last else request.after,
        )


def _of_stream(request: events_pb2.ReadRequest, limit: int) -> events_pb2.ReadResponse:
    # What is in a stream before a version is committed before it: there is nothing to wait for.
    stream = Event.objects.filter(stream=request.subject, version__lt=request.before)
    found = _wanted(stream, request).order_by("-version")[:limit]
    return events_pb2.ReadResponse(events=[envelope(event) for event in reversed(found)])


def _wanted(events: EventQuerySet, request: events_pb2.ReadRequest) -> EventQuerySet:
    events = events.filter(source=request.source)
    return events.filter(type__in=list(request.types)) if request.types else events
