"""What an event costs, from its commit to its finished handler, beside an empty Celery task.

`python -m bench.events [--rounds 3] [--events 2000]`, on PostgreSQL and RabbitMQ. Both sides run
with the same worker, in turns.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median
from typing import Any

from bench import servers
from bench.report import Section, figure, ratio
from bench.start import run_json

TEXT = """\
Medians of {rounds} rounds that alternate. In each, {events} tasks or events wait when the relay and
the worker (4 threads) start. In parentheses: the smallest and largest ratio of a round."""


def main() -> None:
    """Read the arguments, measure, and publish the table."""
    assert __doc__
    parser = argparse.ArgumentParser("bench.events", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=2000)
    given = parser.parse_args()
    servers.end_on_signals()
    command = [sys.executable, "-W", "ignore", "-m", "bench.events_run"]
    with servers.environment() as environment:
        found = run_json([*command, str(given.rounds), str(given.events)], environment)
    section(found, TEXT.format(rounds=given.rounds, events=given.events)).publish("events")


def section(found: dict[str, Any], text: str) -> Section:
    """Return the table: medians, and the ratios to what Celery and a transaction cost alone."""
    tasks, events = found["tasks"], found["events"]
    without, appended = found["without"] * 1e3, found["with"] * 1e3
    rows = [
        ["empty Celery tasks a second", figure(median(tasks)), ""],
        ["events handled once, a second", figure(median(events)), ratio(events, tasks)],
        ["a transaction", figure(without, "ms"), ""],
        ["a transaction with an event", figure(appended, "ms"), ratio([appended], [without])],
        ["commit to finished handler, idle, p50", figure(found["idle"] * 1e3, "ms"), ""],
    ]
    return Section("Events", ["", "", "of its floor"], rows, text)


if __name__ == "__main__":
    main()
