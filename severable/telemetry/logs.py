"""Log lines that say which request, and what it set off, they belong to."""

import logging

from severable.telemetry import correlation


class Correlated(logging.Filter):
    """Adds the correlation's id to every record; "-" where nothing is under way."""

    def filter(self, record: logging.LogRecord) -> bool:
        in_flight = correlation.in_flight()
        record.correlation = in_flight.id if in_flight else "-"
        return True
