"""`manage.py grpc`: a gRPC server in a process of its own."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from severable.rpc.server.server import Server


class Command(BaseCommand):
    help = "Serve this deployment's contracts over gRPC, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        server = Server(settings.GRPC_LISTEN)
        try:
            server.start()
        except RuntimeError as error:
            raise CommandError(f"cannot listen at {server.address}: {error}") from None
        stop.wait()
        server.stop(settings.DRAIN_SECONDS)
