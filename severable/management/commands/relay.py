"""`manage.py relay`: publishes this deployment's events, and runs its scheduler."""

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from severable.events.notify import Listener
from severable.events.relay import Relay
from severable.jobs.leader import lead
from severable.jobs.scheduler import Scheduler

POLL = 0.05
TICK = 0.25


class Command(BaseCommand):
    help = "Publish events to the broker and run the scheduler, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relay, listener = Relay(), Listener(stop)
        others = [("scheduler", Scheduler().tick, TICK)]
        if settings.KAFKA_BOOTSTRAP_SERVERS:
            from severable.contrib.kafka import Kafka

            others.append(("kafka", Kafka().step, POLL))
        threads = [
            threading.Thread(target=lead, args=(name, step), kwargs={"idle": idle, "stop": stop})
            for name, step, idle in others
        ]
        for thread in threads:
            thread.start()
        logging.getLogger(__name__).info("relaying")
        lead("relay", relay.step, idle=POLL, stop=stop, wait=listener.wait)
        for thread in threads:
            thread.join()
        relay.close()
        listener.close()
