"""One behavior: the same traffic gets the same answers, and leaves the same rows, everywhere.

A seeded stream of requests goes in step to the shop in one process, split over gRPC and split over
REST. Each answer (status, headers, body) and, in the end, all rows of all contexts are compared;
intended.toml lists what may differ.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.running import Shop
from tests.differential import state
from tests.differential.client import Answer, Client
from tests.differential.traffic import RENEW_SESSIONS, Request, Traffic

pytestmark = [pytest.mark.xdist_group("running"), pytest.mark.timeout(1800)]

PLACEMENTS = (("one", "grpc"), ("split", "grpc"), ("split", "rest"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))
# The stream signs in more often from one address than people do.
UNLIMITED = {"SIGN_IN_TRIES": "1000000", "SIGN_IN_FAILURES": "1000000"}
# Three shops at once would consume each other's queues of one RabbitMQ.
OWN_BROKER = {"BROKER_URL": "filesystem://"}
INTENDED = tomllib.loads(Path(__file__).with_name("intended.toml").read_text()).get("differs", [])


@dataclass
class Side:
    """One of the shops, and the client that remembers its ids."""

    name: str
    placement: str
    shop: Shop
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.shop.url)

    def answer(self, request: Request) -> Answer:
        """The answer to a request, once all that it caused is done."""
        found = self.client.send(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            self.shop.eventually(lambda: state.settled(self.shop, self.placement), within=90)
        return found


@dataclass(frozen=True)
class Difference:
    """What one side does otherwise than the first."""

    request: str
    kind: str
    between: str
    values: tuple[str, str]

    def intended(self) -> int | None:
        """The index of the entry in intended.toml that allows it."""
        for index, entry in enumerate(INTENDED):
            asked = " ".join(self.request.split()[1:3])
            if re.fullmatch(entry["kind"], self.kind) and re.fullmatch(entry["request"], asked):
                return index
        return None

    def __str__(self) -> str:
        first, second = (value[:600] for value in self.values)
        return f"{self.request}\n  {self.kind}, {self.between}:\n    {first}\n    {second}"


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[list[Side]]:
    shops = []
    for placement, channel in PLACEMENTS:
        folder = tmp_path / f"{placement}-{channel}"
        folder.mkdir()
        shops.append(Shop(folder, placement, channel, environment=UNLIMITED | OWN_BROKER))
    try:
        with ThreadPoolExecutor(len(shops)) as pool:
            list(pool.map(lambda shop: shop.start(), shops))
        yield [
            Side(f"{placement} {channel}", placement, shop)
            for (placement, channel), shop in zip(PLACEMENTS, shops, strict=True)
        ]
    finally:
        for shop in shops:
            shop.close()


def compare(sides: list[Side], seed: int, count: int) -> list[Difference]:
    """Send so many requests of a seed to all sides, and return what differs."""
    traffic, differences = Traffic(seed), list[Difference]()
    with ThreadPoolExecutor(len(sides)) as pool:

        def send(name: str, request: Request) -> None:
            answers = list(pool.map(lambda side: side.answer(request), sides))
            for side, other in zip(sides[1:], answers[1:], strict=True):
                between = f"{sides[0].name} and {side.name}"
                for kind, *values in _differing(answers[0], other):
                    differences.append(
                        Difference(f"{name} {request}", kind, between, (values[0], values[1]))
                    )

        for request in traffic.opening():
            send("opening", request)
        for number in range(count):
            if number and number % RENEW_SESSIONS == 0:
                for request in traffic.sign_ins():
                    send("again", request)
            send(f"#{number}", traffic.next())
    return differences + list(_state_differences(sides))


def _differing(first: Answer, second: Answer) -> Iterator[tuple[str, str, str]]:
    if first.status != second.status:
        yield "status", f"{first.status} {first.body}", f"{second.status} {second.body}"
        return
    for name in sorted(first.headers.keys() | second.headers.keys()):
        values = first.headers.get(name, "none"), second.headers.get(name, "none")
        if values[0] != values[1]:
            yield f"header {name}", *values
    for path, *values in _differing_fields(first.body, second.body):
        yield f"body {path}", repr(values[0]), repr(values[1])


def _differing_fields(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            inner = f"{path}.{key}".strip(".")
            yield from _differing_fields(first.get(key), second.get(key), inner)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for one, other in zip(first, second, strict=True):
            yield from _differing_fields(one, other, f"{path}[]")
    elif first != second:
        yield path, first, second


def _state_differences(sides: list[Side]) -> Iterator[Difference]:
    states = [state.of(side.shop, side.placement, side.client) for side in sides]
    for side, rows in zip(sides[1:], states[1:], strict=True):
        for table in sorted(states[0].keys() | rows.keys()):
            extra, missing = states[0][table] - rows[table], rows[table] - states[0][table]
            if extra or missing:
                between = f"{sides[0].name} and {side.name}"
                values = str(sorted(extra.elements())[:5]), str(sorted(missing.elements())[:5])
                yield Difference("at the end", f"table {table}", between, values)


def _assert_none_unintended(differences: list[Difference], sides: list[Side]) -> None:
    unintended = [one for one in differences if one.intended() is None]
    intended = len(differences) - len(unintended)
    print(f"seed {SEED}: {intended} intended differences, {len(unintended)} others")  # noqa: T201
    assert not unintended, f"seed {SEED}\n" + "\n".join(map(str, unintended[:25]))


def test_the_same_traffic_has_the_same_answers_and_leaves_the_same_rows(sides: list[Side]) -> None:
    """A placement that answers, refuses, delivers or stores anything else than the others."""
    count = int(os.environ.get("DIFFERENTIAL_REQUESTS", "120"))
    _assert_none_unintended(compare(sides, SEED, count), sides)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_a_long_stream_differs_in_nothing_but_what_is_listed(sides: list[Side]) -> None:
    """The same with ten times as much; each entry of intended.toml must still be needed."""
    differences = compare(sides, SEED + 1, int(os.environ.get("DIFFERENTIAL_REQUESTS", "5000")))
    _assert_none_unintended(differences, sides)
    seen = {one.intended() for one in differences}
    assert not [entry for index, entry in enumerate(INTENDED) if index not in seen]
