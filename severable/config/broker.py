"""How Celery reaches its broker, and what RabbitMQ's queues are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from severable import project


def transport_options(url: str, folder: Path) -> dict[str, Any]:
    """Return kombu's options for a broker; the embedded one keeps its messages in `folder`.

    Timeouts are explicit: without them a broker that hangs holds up all who publish.
    """
    if url.startswith("filesystem:"):
        messages = folder / "messages"
        messages.mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(folder / "bindings"),
            "polling_interval": 0.05,
        }
    if url.startswith("amqp"):
        return {"confirm_publish": True, "read_timeout": 4, "write_timeout": 4}
    return {"socket_timeout": 4, "socket_connect_timeout": 4, "socket_keepalive": True}


def queue_arguments(url: str) -> dict[str, Any]:
    """Return the arguments of RabbitMQ's queues; none for another broker.

    All are given, because RabbitMQ's defaults differ from one version to the next. At least once: a
    message that has killed its worker eight times is kept, for people to look at.
    """
    if not url.startswith("amqp"):
        return {}
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": 8,
        "x-dead-letter-exchange": f"{project.name()}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
