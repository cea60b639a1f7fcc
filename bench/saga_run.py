"""Runs empty sagas one after the other, and prints the CPU and the time of one: bench/saga.py."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from io import StringIO
from uuid import uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from severable.saga import Definition, Step, define, driver  # noqa: E402

WARM_UP = 20


@dataclass
class Nothing:
    """The data of an empty saga."""


def nothing(data: Nothing) -> None:
    """Do nothing: what is measured is the saga."""


EMPTY = define(
    Definition(
        name="empty",
        context="orders",
        data=Nothing,
        steps=(Step("first", nothing), Step("second", nothing), Step("third", nothing)),
    )
)


def run() -> None:
    """Start a saga in a transaction, and drive it to its end."""
    with transaction.atomic():
        saga = driver.start(EMPTY, uuid4(), Nothing(), claimed=True)
    saga.attempt()


def main() -> None:
    """Run as many sagas as the argument says."""
    runs = int(sys.argv[1])
    call_command("migrate", verbosity=0, stdout=StringIO())
    for _ in range(WARM_UP):
        run()
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(runs):
        run()
    took, spent = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"CPU": spent / runs, "time": took / runs}))


if __name__ == "__main__":
    main()
