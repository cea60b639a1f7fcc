"""Celery's options for its broker, and the arguments of RabbitMQ's queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from severable import project


def transport_options(url: str, folder: Path) -> dict[str, Any]:
    """Return kombu's options for a broker; the embedded one stores its messages in `folder`.

    Timeouts are explicit: without them a broker that hangs blocks all publishers.
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

    All are explicit, because RabbitMQ's defaults differ between versions. Delivery is at least
    once; a message that has killed its worker eight times is dead-lettered, to be inspected.
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
