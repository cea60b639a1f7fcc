"""`manage.py service_token`: a token for calls to internal endpoints by hand (grpcurl, curl)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from severable.rpc import identity
from severable.telemetry import correlation
from severable.telemetry.correlation import Correlation, correlated


class Command(BaseCommand):
    help = "Print a token for internal endpoints, valid for an hour."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=int, default=3600, help="its lifetime in seconds")
        parser.add_argument("--actor", default="", help="the actor of the calls, such as user-7")

    def handle(self, *args: Any, **options: Any) -> None:
        with correlated(Correlation(id=correlation.current().id, actor=options["actor"])):
            self.stdout.write(identity.token(options["seconds"], identity.BY_HAND))
