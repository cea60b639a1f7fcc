"""What a worker declares at RabbitMQ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from amqp.exceptions import NotFound
from kombu import Connection

from tests.chaos.rabbitmq import SERVER, RabbitMQ
from tests.machine import eventually
from tests.processes import ROOT

WORKER = ["-m", "celery", "-A", "shop", "worker", "-Q", "orders", "-P", "threads", "-c", "1"]


def is_there(broker: str, queue: str) -> bool:
    with Connection(broker) as connection:
        try:
            connection.default_channel.queue_declare(queue, passive=True)
        except NotFound:
            return False
    return True


@pytest.mark.chaos
@pytest.mark.skipif(SERVER is None, reason="no rabbitmq-server is installed")
def test_a_worker_declares_no_queues_for_delays(tmp_path: Path) -> None:
    """28 quorum queues and exchanges in every RabbitMQ, for tasks with an ETA; there are none."""
    node = RabbitMQ(tmp_path / "rabbitmq")
    node.start()
    beat = tmp_path / "beat"
    own = {"BROKER_URL": node.url, "VAR_DIR": str(tmp_path), "SHOP_HEARTBEAT": str(beat)}
    worker = subprocess.Popen([sys.executable, *WORKER], cwd=ROOT, env={**os.environ, **own})
    try:
        eventually(lambda: is_there(node.url, "orders"))
        before = beat.stat().st_mtime_ns if beat.exists() else 0
        # It takes tasks: all that it declares when it starts is there.
        eventually(lambda: beat.exists() and beat.stat().st_mtime_ns > before)
        assert [n for n in range(28) if is_there(node.url, f"celery_delayed_{n}")] == []
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        node.kill()
