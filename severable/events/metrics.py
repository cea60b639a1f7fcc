"""Metrics of events for Prometheus: the figures of `manage.py events status`.

They describe the deployment and come from its database, so any of its processes can report them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from severable.events import status

JOBS = {
    "waiting": "Jobs that are not done",
    "overdue": "Jobs that are due and not claimed",
    "failing": "Waiting jobs whose last attempt failed",
    "stuck": "Waiting jobs with as many failed attempts as a kind with a limit allows",
    "parked": "Jobs parked after their last attempt",
    "seconds": "Seconds for which the oldest job has been due",
}


class EventsCollector(Collector):
    """Queries the database at each scrape."""

    def describe(self) -> list[Metric]:
        return []  # otherwise registering would query the database

    def collect(self) -> Iterator[Metric]:
        found = status.status()
        yield from _backlogs("unpublished", "committed and not published", "relay", found.relays)
        known = {name: backlog for name, backlog in found.subscriptions.items() if backlog}
        yield from _backlogs("uncompared", "not compared with the deliveries", "handler", known)
        yield _labelled(
            "shop_events_feed_up",
            "Whether the feed of a handler's events responds",
            "handler",
            {name: backlog is not None for name, backlog in found.subscriptions.items()},
        )
        lost = CounterMetricFamily(
            "shop_events_missed", "Events that the broker lost", labels=["handler"]
        )
        for handler, count in found.missed.items():
            lost.add_metric([handler], count)
        yield lost
        waiting = found.deliveries
        yield GaugeMetricFamily(
            "shop_deliveries_waiting", "Deliveries that are not done", value=waiting.waiting
        )
        yield GaugeMetricFamily(
            "shop_deliveries_overdue",
            "Deliveries that are due and not claimed",
            value=waiting.overdue,
        )
        yield GaugeMetricFamily(
            "shop_deliveries_oldest_seconds",
            "Age of the oldest delivery that is not done",
            value=waiting.oldest.seconds if waiting.oldest else 0,
        )
        yield _labelled(
            "shop_deliveries_parked",
            "Deliveries parked after their last attempt",
            "handler",
            waiting.parked,
        )
        for figure, text in JOBS.items():
            values = {kind: getattr(jobs, figure) for kind, jobs in found.jobs.items()}
            yield _labelled(f"shop_jobs_{figure}", text, "kind", values)


def _backlogs(
    name: str, what: str, label: str, backlogs: Mapping[str, status.Backlog]
) -> Iterator[GaugeMetricFamily]:
    counts = {each: backlog.events for each, backlog in backlogs.items()}
    ages = {each: backlog.seconds for each, backlog in backlogs.items()}
    yield _labelled(f"shop_events_{name}", f"Events {what}", label, counts)
    yield _labelled(f"shop_events_{name}_seconds", f"Age of the oldest {what}", label, ages)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def register() -> None:
    """Add the collector to `/metrics`."""
    REGISTRY.register(EventsCollector())
