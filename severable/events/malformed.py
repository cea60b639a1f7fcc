"""Messages that nobody can read: kept for people to look at, and out of the way of the others."""

from __future__ import annotations

import json
import logging
from typing import Any

from severable.events.models import MalformedMessage

log = logging.getLogger(__name__)

MAX_LENGTH = 10_000  # characters of a message that are kept


def park(queue: str, body: Any, headers: dict[str, Any], problem: str) -> None:
    """Keep a message that came through a queue, with what is wrong with it."""
    log.error("a message in %s cannot be read: %s", queue, problem)
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    MalformedMessage.objects.create(
        queue=queue,
        body=text.replace("\0", "\ufffd")[:MAX_LENGTH],
        headers=json.loads(json.dumps(headers, default=str)),
        error=problem[:2000],
    )
