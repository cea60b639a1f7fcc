"""Subscriptions of readers to events."""

from django.db.models import F
from protos.book_pb2 import BookLent

from apps.readers.models import Reader
from severable.events import on


@on(BookLent)
def count_loan(event: BookLent) -> None:
    Reader.objects.filter(pk=event.reader_id).update(loans=F("loans") + 1)
