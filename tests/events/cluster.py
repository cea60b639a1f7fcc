"""A Kafka broker in a process of its own: librdkafka's mock cluster, which speaks the protocol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

SERVE = """
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
[broker] = producer.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
input()
"""


@dataclass
class Cluster:
    """Topics appear when they are written to, with four partitions each."""

    process: subprocess.Popen[str]
    address: str

    def freeze(self) -> None:
        """From now on it takes connections, and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # until the last of its threads stands still

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def read(self, count: int) -> list[Message]:
        """So many messages of all topics, and those that come with them; those of a partition
        in order."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "reader"})
        found: list[Message] = []
        deadline = time.monotonic() + 20
        try:
            topics = consumer.list_topics(timeout=10).topics
            consumer.assign(
                [
                    TopicPartition(name, partition, OFFSET_BEGINNING)
                    for name, topic in topics.items()
                    for partition in topic.partitions
                ]
            )
            while len(found) < count and time.monotonic() < deadline:
                found += consumer.consume(500, timeout=0.5)
            found += consumer.consume(500, timeout=0.5)
        finally:
            consumer.close()
        assert not [message.error() for message in found if message.error()]
        return found


def event(message: Message) -> dict[str, Any]:
    """The CloudEvent that a message is."""
    value = message.value()
    assert value
    read: dict[str, Any] = json.loads(value)
    return read


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster, for as long as the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield Cluster(process, process.stdout.readline().strip())
        finally:
            process.kill()
