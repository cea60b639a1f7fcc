"""Log lines that say which request, and what it set off, they belong to."""

import logging

from severable.telemetry import correlation


class Correlated(logging.Filter):
    """Adds the correlation's id to every record; "-" where nothing is under way."""

    def filter(self, record: logging.LogRecord) -> bool:
        under_way = correlation.under_way()
        record.correlation = under_way.id if under_way else "-"
        return True
