"""Malformed messages: stored for inspection, so that they do not block the queue."""

from __future__ import annotations

import json
import logging
from typing import Any

from severable.events.models import MalformedMessage

log = logging.getLogger(__name__)

MAX_LENGTH = 10_000  # characters of a message that are stored


def park(queue: str, body: Any, headers: dict[str, Any], problem: str) -> None:
    """Store a message from a queue together with its problem."""
    log.error("malformed message in queue %s: %s", queue, problem)
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    MalformedMessage.objects.create(
        queue=queue,
        body=text.replace("\0", "\ufffd")[:MAX_LENGTH],
        headers=json.loads(json.dumps(headers, default=str)),
        error=problem[:2000],
    )
