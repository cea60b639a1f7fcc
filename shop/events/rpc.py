"""The feed: a context's events, in commit order, from any position."""

from __future__ import annotations

from typing import Any

from protos import events_pb2
from protos.events_pb2_grpc import EventFeedServicer, add_EventFeedServicer_to_server
from shop.events.models import Event
from shop.events.store import envelope, position
from shop.rpc.registry import serve

MOST = 1000


@serve(add_EventFeedServicer_to_server)
class Feed(EventFeedServicer):
    def Read(self, request: events_pb2.ReadRequest, context: Any) -> events_pb2.ReadResponse:
        after = Event.objects.after(request.after.transaction, request.after.id)
        last = after.last()  # first, so that nothing appears below it in between
        events = after.filter(source=request.source)
        if request.types:
            events = events.filter(type__in=list(request.types))
        limit = min(request.limit or MOST, MOST)
        found = list(events[:limit])
        if len(found) == limit or not last:
            last = found[-1] if found else None
        return events_pb2.ReadResponse(
            events=[envelope(event) for event in found],
            reached=position(last) if last else request.after,
        )
