"""`manage.py relay`: publishes this deployment's events, and runs its scheduler."""

import logging
import signal
import threading
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from severable.events.notify import Listener
from severable.events.relay import Relay
from severable.jobs.leader import lead
from severable.jobs.scheduler import Scheduler

POLL = 1.0  # seconds, if no commit wakes a loop
KAFKA_POLL = 0.1


class Command(BaseCommand):
    help = "Publish events to the broker and run the scheduler, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relay, scheduler, listener = Relay(), Scheduler(), Listener(stop)
        relay_wait = listener.waiter()
        scheduler_wait = partial(scheduler.wait, listener.waiter())
        threads = [
            threading.Thread(target=listener.run, daemon=True),
            _leader("scheduler", scheduler.tick, idle=POLL, stop=stop, wait=scheduler_wait),
        ]
        if settings.KAFKA_BOOTSTRAP_SERVERS:
            from severable.contrib.kafka import Kafka

            threads.append(_leader("kafka", Kafka().step, idle=KAFKA_POLL, stop=stop))
        for thread in threads:
            thread.start()
        logging.getLogger(__name__).info("relaying")
        lead(
            "relay",
            relay.step,
            idle=POLL,
            stop=stop,
            wait=relay_wait,
            on_acquired=relay.reload,
        )
        for thread in threads:
            thread.join()
        relay.close()


def _leader(*args: Any, **options: Any) -> threading.Thread:
    return threading.Thread(target=lead, args=args, kwargs=options)
