"""Lists come in pages, of at most 100."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination, PageNumberPagination
from rest_framework.request import Request


class Pages(PageNumberPagination):
    """Numbered pages, for lists that people leaf through."""

    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100


class NewestFirst(CursorPagination):
    """A cursor, for lists that grow at the head: no row is skipped or shown twice."""

    page_size = 20
    page_size_query_param = "page_size"
    max_page_size = 100
    ordering = ("-created_at", "-id")

    def decode_cursor(self, request: Request) -> Any:
        """A cursor may be made up: the moment in it is checked, as DRF does not."""
        cursor: Any = super().decode_cursor(request)  # stubs take a position for a number
        if cursor is None or cursor.position is None:
            return cursor
        try:
            moment = datetime.fromisoformat(cursor.position).astimezone(UTC)
        except (ValueError, OverflowError):
            raise NotFound(self.invalid_cursor_message) from None
        return cursor._replace(position=str(moment))
