"""What a paid order costs: a plain Django monolith beside the shop in one process and split.

`python -m bench.orders [--rounds 5] [--orders 400] [--systems plain,one,grpc,rest]`
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, servers
from bench.clients import Clients
from bench.systems import DONE_SECONDS, Plain, Shop, System, wait_until

WARM_UP = 40


@dataclass
class Round:
    """What one system did in one round."""

    per_second: float
    latencies: list[float]
    cpu: dict[str, float]  # milliseconds for each order, by kind of process
    reads_per_second: float = 0.0
    memory: float = 0.0


@dataclass
class Result:
    """The rounds of a system."""

    rounds: list[Round] = field(default_factory=list)


SYSTEMS = {
    "plain": Plain,
    "one": lambda where, folder: Shop(where, folder, "one", "grpc"),
    "grpc": lambda where, folder: Shop(where, folder, "split", "grpc"),
    "rest": lambda where, folder: Shop(where, folder, "split", "rest"),
}


@contextmanager
def systems(names: list[str]) -> Iterator[dict[str, System]]:
    """Make the systems, and remove all that they leave."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            found[name] = SYSTEMS[name](stack.enter_context(servers.place()), folder)
            stack.callback(found[name].stop)
        yield found


def one_round(system: System, orders: int) -> Round:
    system.start()
    clients = Clients(system.port, system.skus)
    try:
        clients.orders(WARM_UP)
        _settle(system, WARM_UP)
        cpu, backends, rabbit = system.cpu(), machine.backends(system.where.name), machine.rabbitmq_seconds()
        start = time.perf_counter()
        latencies = clients.orders(orders)
        _settle(system, orders)
        took = time.perf_counter() - start
        spent = {k: v - cpu.get(k, 0.0) for k, v in system.cpu().items()}
        after = machine.backends(system.where.name)
        spent["postgres"] = sum(v - backends.get(k, 0.0) for k, v in after.items())
        spent["rabbitmq"] = machine.rabbitmq_seconds() - rabbit
        memory = system.memory()
        start = time.perf_counter()
        clients.products(orders)
        reads = orders / (time.perf_counter() - start)
    finally:
        clients.close()
        system.stop()
    return Round(
        orders / took, latencies, {k: v / orders * 1e3 for k, v in spent.items()}, reads, memory
    )


def _settle(system: System, orders: int) -> None:
    system.orders += orders
    wait_until(lambda: system.settled(system.orders), DONE_SECONDS, f"{system.name} has not done all")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=400)
    parser.add_argument("--systems", default="plain,one,grpc,rest")
    options = parser.parse_args()
    servers.end_on_signals()
    names = options.systems.split(",")
    with systems(names) as found:
        for number in range(options.rounds):
            for name, system in found.items():
                r = one_round(system, options.orders)
                app = sum(v for k, v in r.cpu.items() if k not in ("postgres", "rabbitmq"))
                print(
                    f"{number} {name:6} {r.per_second:6.1f}/s p50 {statistics.median(r.latencies) * 1e3:6.1f} ms "
                    f"p99 {statistics.quantiles(r.latencies, n=100)[98] * 1e3:6.1f} cpu {app:.1f} ms "
                    + " ".join(f"{k} {v:.1f}" for k, v in r.cpu.items())
                    + f" reads {r.reads_per_second:.0f}/s mem {r.memory:.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
