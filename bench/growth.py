"""What an order, a page of orders and a timeline cost with few and with many orders there.

`python -m bench.growth [--small 10000] [--large 1000000] [--repeat 200]`

One real order is copied in bulk, with all its rows: lines, payment, reservation, saga, events,
deliveries, mails. One in a hundred copies belongs to the customer who asks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psycopg

from bench import servers
from bench.clients import Client
from bench.copies import Table, copy, rows_about
from bench.orders import systems
from bench.report import Section, figure, ratio, say
from bench.systems import System, settle

WARM_UP = 20
TEXT = """\
The shop in one process, one client, medians of {repeat} calls each. All rows of an order are
there in proportion; one in a hundred orders is the customer's who asks. CPU is that of the shop and
of its connections to PostgreSQL, until all that the orders cause is done."""
Figures = dict[str, float]


def main() -> None:
    """Read the arguments, measure, and publish the table."""
    assert __doc__
    parser = argparse.ArgumentParser("bench.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=200)
    given = parser.parse_args()
    servers.end_on_signals()
    taken = measure([given.small, given.large], given.repeat)
    section(taken, TEXT.format(repeat=given.repeat)).publish("growth")


def measure(sizes: list[int], repeat: int) -> dict[int, Figures]:
    """Return the figures with so many orders in the database."""
    taken, there = {}, 0
    with systems(["one"]) as found:
        system = found["one"]
        tables, order_id = template(system)
        for size in sizes:
            with psycopg.connect(system.where.database_url, autocommit=True) as server:
                copy(server, tables, there + 1, size)
            there = size
            say(f"{size} orders are there")
            taken[size] = figures(system, order_id, repeat)
    return taken


def template(system: System) -> tuple[list[Table], str]:
    """Place an order, and others after it so that its events are past; return its rows."""
    system.start()
    client = Client(system.port)
    order = client.order(system.skus[0])
    settle(system, 1)
    place(client, system, WARM_UP)
    system.stop()
    with psycopg.connect(system.where.database_url) as server:
        return rows_about(server, [order["id"], order["payment_id"]]), order["id"]


def figures(system: System, order_id: str, repeat: int) -> Figures:
    """Start the shop, and measure orders, pages and timelines."""
    system.start()
    client = Client(system.port)
    place(client, system, WARM_UP)
    before = system.usage()
    taken = {"an order": median(place(client, system, repeat))}
    spent = system.usage().since(before)
    taken["CPU of an order"] = (sum(spent.values()) - spent["RabbitMQ"]) / repeat * 1e3
    paths = {
        "a page of orders": "/api/orders",
        "an order's timeline": f"/api/orders/{order_id}/timeline",
    }
    for name, path in paths.items():
        taken[name] = median(timed(lambda path=path: client.get(path), repeat))
    system.stop()
    return taken


def place(client: Client, system: System, orders: int) -> list[float]:
    """Place orders one after the other, wait until all is done, and return their milliseconds."""
    taken = timed(lambda: client.order(system.skus[0]), orders)
    settle(system, orders)
    client.close()
    return taken


def timed(call: Callable[[], Any], repeat: int) -> list[float]:
    """Call something repeatedly, and return the milliseconds of each call."""
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def section(taken: dict[int, Figures], text: str) -> Section:
    """Return the table: the figures, and their ratio."""
    small, large = taken.values()
    rows = [
        [name, figure(value, "ms"), figure(large[name], "ms"), ratio([large[name]], [value])]
        for name, value in small.items()
    ]
    headings = ["", *(f"{size:,} orders" for size in taken), "ratio"]
    return Section("Growth", headings, rows, text)


if __name__ == "__main__":
    main()
