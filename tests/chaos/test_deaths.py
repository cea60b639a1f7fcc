"""Every process of a shop dies again and again, each time at another point of its work: around
commits, calls, answers, publishes and acknowledgments."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.invariants import everything, lost_or_doubled, violations
from tests.chaos.people import People
from tests.chaos.running import Shop
from tests.differential import state

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SECONDS = 90


@pytest.mark.parametrize(
    ("placement", "channel"), [("one", "grpc"), ("split", "grpc"), ("split", "rest")]
)
def test_deaths_at_every_kind_of_point_break_no_promise(
    tmp_path: Path, placement: str, channel: str
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    dying = {"DEATHS": str(deaths), "PYTHONPATH": str(Path(__file__).with_name("dying"))}
    shop = Shop(tmp_path, placement, channel, environment=dying)
    try:
        shop.start()
        before = everything(state.databases(shop, placement))
        people = People(shop)
        (deaths / "armed").touch()
        with people.acting():
            time.sleep(SECONDS)
            (deaths / "armed").unlink()
        shop.eventually(lambda: state.settled(shop, placement), within=180)
        died = [line.split(": ") for line in (deaths / "log").read_text().splitlines()]
        found = everything(state.databases(shop, placement))
        wrong = [*people.wrong, *violations(before, found), *lost_or_doubled(people.placed, found)]
    finally:
        shop.close()
    kinds = Counter(kind for _, kind in died)
    print(f"{placement} {channel}: {len(died)} deaths, {dict(kinds)}; {dict(people.acts)}")  # noqa: T201
    assert not wrong
    assert len(died) >= 15
    assert people.acts["place 201"] + people.acts["place 202"] >= 10
