"""`manage.py relay`: publishes this deployment's events, and keeps its clock."""

import logging
import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from shop.events.relay import Relay
from shop.events.wakeup import Listener
from shop.jobs.clock import Clock
from shop.jobs.leader import lead

POLL = 0.05
TICK = 0.25


class Command(BaseCommand):
    help = "Publish events to the broker and call what is periodic, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relay, listener = Relay(), Listener(stop)
        clock = threading.Thread(
            target=lead, args=("clock", Clock().tick), kwargs={"idle": TICK, "stop": stop}
        )
        clock.start()
        logging.getLogger(__name__).info("relaying")
        lead("relay", relay.step, idle=POLL, stop=stop, wait=listener.wait)
        clock.join()
        relay.close()
        listener.close()
