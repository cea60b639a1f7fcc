"""Metrics of events for Prometheus: the figures of `manage.py events status`.

They are of the deployment and come from its database, so any one of its processes can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from severable.events import status

JOBS = {
    "waiting": "Not done yet",
    "overdue": "Due by now",
    "failing": "Waiting after an attempt that failed",
    "stuck": "Failed as often as a kind that limits its attempts may",
    "parked": "Given up after their attempts",
    "seconds": "How long one has been due at most",
}


class EventsCollector(Collector):
    """Looks when it is asked."""

    def describe(self) -> list[Metric]:
        return []  # or registering would look

    def collect(self) -> Iterator[Metric]:
        found = status.status()
        yield from _lags("unpublished", "committed and not published", "relay", found.relays)
        answered = {name: lag for name, lag in found.subscriptions.items() if lag}
        yield from _lags("uncompared", "not compared with the deliveries", "handler", answered)
        yield _labelled(
            "shop_events_feed_up",
            "Whether the feed of a handler's events answers",
            "handler",
            {name: lag is not None for name, lag in found.subscriptions.items()},
        )
        missed = CounterMetricFamily(
            "shop_events_missed", "Events that the broker has lost", labels=["handler"]
        )
        for handler, count in found.missed.items():
            missed.add_metric([handler], count)
        yield missed
        waiting = found.deliveries
        yield GaugeMetricFamily("shop_deliveries_waiting", "Not done yet", value=waiting.waiting)
        yield GaugeMetricFamily("shop_deliveries_overdue", "Due by now", value=waiting.overdue)
        yield GaugeMetricFamily(
            "shop_deliveries_oldest_seconds",
            "How long one has waited at most",
            value=waiting.oldest.seconds if waiting.oldest else 0,
        )
        yield _labelled(
            "shop_deliveries_parked", "Given up after their attempts", "handler", waiting.parked
        )
        for figure, text in JOBS.items():
            values = {kind: getattr(jobs, figure) for kind, jobs in found.jobs.items()}
            yield _labelled(f"shop_jobs_{figure}", text, "kind", values)


def _lags(
    name: str, what: str, label: str, lags: Mapping[str, status.Lag]
) -> Iterator[GaugeMetricFamily]:
    counts = {each: lag.events for each, lag in lags.items()}
    ages = {each: lag.seconds for each, lag in lags.items()}
    yield _labelled(f"shop_events_{name}", f"Events {what}", label, counts)
    yield _labelled(f"shop_events_{name}_seconds", f"Age of the oldest {what}", label, ages)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def register() -> None:
    """Have `/metrics` show them."""
    REGISTRY.register(EventsCollector())
