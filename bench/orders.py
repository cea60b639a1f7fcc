"""What a paid order costs: a plain Django monolith beside the shop in one process and split.

`python -m bench.orders [--rounds 5] [--orders 400] [--systems plain,one,grpc,rest] [--rest 30]`

Each round starts each system in turn, warms it up, places the orders by 8 clients over HTTP and
waits until all that they cause is done: events handled, mails sent. Then it reads products. At the
end each system runs once more behind a proxy that counts its statements, and then at rest.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import servers
from bench.clients import Clients
from bench.machine import KINDS
from bench.report import Section, figure, percentile, ratio, say
from bench.statements import CountingProxy
from bench.systems import SYSTEMS, TITLES, System, settle

WARM_UP, COUNTED = 24, 40  # orders
SERVERS = ("PostgreSQL", "RabbitMQ")


@dataclass(frozen=True)
class Round:
    """What a system did in one round."""

    orders: float  # in one second, until all was done
    p50: float  # milliseconds
    p99: float
    cpu: dict[str, float]  # milliseconds for each order, by kind of process
    memory: float  # MiB
    reads: float  # in one second

    @property
    def own(self) -> float:
        """CPU of the system's own processes."""
        return sum(spent for kind, spent in self.cpu.items() if kind not in SERVERS)

    @property
    def total(self) -> float:
        """CPU in all, with the servers'."""
        return sum(self.cpu.values())

    @property
    def summary(self) -> str:
        """The figures that say how the benchmark goes, in one line."""
        return f"{self.orders:.1f} orders/s, {self.own:.1f} ms CPU of an order ({self.total:.1f})"


@dataclass(frozen=True)
class Once:
    """What was counted once."""

    statements: dict[str, float]  # for each order, by kind of process
    at_rest: float  # statements a second
    idle: float  # percent of a core


def measure(
    names: list[str], rounds: int, orders: int, rest: float
) -> tuple[dict[str, list[Round]], dict[str, Once]]:
    """Return the rounds of each system, and what was counted once."""
    with systems(names) as found:
        taken: dict[str, list[Round]] = {name: [] for name in names}
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                taken[name].append(one_round(found[name], orders))
                say(f"round {number + 1}, {name}: {taken[name][-1].summary}")
        return taken, {name: count_once(found[name], rest) for name in names}


@contextmanager
def systems(names: list[str]) -> Iterator[dict[str, System]]:
    """Make the systems, stopped, and remove all that they leave."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            found[name] = SYSTEMS[name](stack.enter_context(servers.place()), folder)
            stack.callback(found[name].stop)
        yield found


@contextmanager
def running(system: System) -> Iterator[Clients]:
    """Start a system, warm it up, and stop it at the end."""
    try:
        system.start()
        clients = Clients(system.port, system.skus)
        clients.orders(WARM_UP)
        settle(system, WARM_UP)
        yield clients
        clients.close()
    finally:
        system.stop()


def one_round(system: System, orders: int) -> Round:
    """Place orders and read products."""
    with running(system) as clients:
        before, start = system.usage(), time.perf_counter()
        latencies = clients.orders(orders)
        settle(system, orders)
        took = time.perf_counter() - start
        spent = system.usage().since(before)
        memory, start = system.memory(), time.perf_counter()
        clients.products(orders)
        return Round(
            orders=orders / took,
            p50=median(latencies) * 1e3,
            p99=percentile(latencies, 99) * 1e3,
            cpu={kind: seconds / orders * 1e3 for kind, seconds in spent.items()},
            memory=memory,
            reads=orders / (time.perf_counter() - start),
        )


def count_once(system: System, rest: float) -> Once:
    """Count the statements of an order, then leave the system at rest for so many seconds."""
    with CountingProxy() as proxy:
        system.environment["DATABASE_URL"] = proxy.through(system.where.database_url)
        with running(system) as clients:
            time.sleep(2)  # what warming up has left
            proxy.counts.clear()
            clients.orders(COUNTED)
            settle(system, COUNTED)
            statements = {kind: n / COUNTED for kind, n in proxy.by_kind().items()}
            time.sleep(min(rest, 5.0))
            proxy.counts.clear()
            before = sum(system.cpu().values())
            time.sleep(rest)
            idle = (sum(system.cpu().values()) - before) / rest * 100
            return Once(statements, proxy.counts.total() / rest, idle)


def of_kind(kind: str) -> Callable[[Round], float]:
    """Return a measure: the CPU of a kind of process."""
    return lambda one: one.cpu.get(kind, 0.0)


MEASURES: list[tuple[str, Callable[[Round], float], str]] = [
    ("paid orders a second, until all is done", lambda one: one.orders, ""),
    ("p50 of an order", lambda one: one.p50, "ms"),
    ("p99 of an order", lambda one: one.p99, "ms"),
    ("CPU of an order, its processes", lambda one: one.own, "ms"),
    *((f"· {kind}", of_kind(kind), "ms") for kind in (*KINDS, *SERVERS)),
    ("CPU of an order, all", lambda one: one.total, "ms"),
    ("reads of a product a second", lambda one: one.reads, ""),
    ("memory", lambda one: one.memory, "MiB"),
]
COUNTS: list[tuple[str, Callable[[Once], float], str]] = [
    ("SQL statements of an order", lambda once: sum(once.statements.values()), ""),
    *((f"· {kind}", lambda once, k=kind: once.statements.get(k, 0.0), "") for kind in KINDS),
    ("SQL statements at rest, a second", lambda once: once.at_rest, ""),
    ("CPU at rest", lambda once: once.idle, "% of a core"),
]


def section(taken: dict[str, list[Round]], once: dict[str, Once], orders: int) -> Section:
    """Return the table: medians, and beside them the ratios to the first system."""
    rows = [
        _row(name, [[value(one) for one in rounds] for rounds in taken.values()], unit)
        for name, value, unit in MEASURES
    ]
    rows += [
        _row(name, [[value(counted)] for counted in once.values()], unit)
        for name, value, unit in COUNTS
    ]
    rounds = len(next(iter(taken.values())))
    text = TEXT.format(rounds=rounds, orders=orders, counted=COUNTED)
    return Section("A paid order", ["", *(TITLES[name] for name in taken)], rows, text)


def _row(name: str, systems: list[list[float]], unit: str) -> list[str]:
    first, *others = systems
    cells = [figure(median(first), unit)]
    cells += [f"{figure(median(one), unit)} = {ratio(one, first)}" for one in others]
    return [name, *(cell.removesuffix(" = ") for cell in cells)]


TEXT = """\
Medians of {rounds} rounds of {orders} orders by 8 clients; in parentheses the smallest and largest
ratio of a round. Rounds alternate: in each, every system starts, is warmed up, is measured and
stops, in turn and every other round in reverse. An order counts when its events are handled and its
mails written. PostgreSQL's CPU is that of the system's own connections; RabbitMQ's is all that it
used meanwhile. Statements (also BEGIN and COMMIT) are counted in a run of {counted} orders of
their own."""


def main() -> None:
    """Read the arguments, measure, and publish the table."""
    assert __doc__
    parser = argparse.ArgumentParser("bench.orders", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=400, help="of one system in one round")
    parser.add_argument("--rest", type=float, default=30, help="seconds at rest")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="the first is the floor")
    given = parser.parse_args()
    names = given.systems.split(",")
    if unknown := set(names) - SYSTEMS.keys():
        parser.error(f"--systems: there is no {', '.join(unknown)}; there is {', '.join(SYSTEMS)}")
    servers.end_on_signals()
    taken, once = measure(names, given.rounds, given.orders, given.rest)
    section(taken, once, given.orders).publish("orders")


if __name__ == "__main__":
    main()
