"""A saga of three empty steps beside the same workflow in DBOS Transact, on one PostgreSQL.

`python -m bench.saga [--rounds 5] [--runs 200] [--dbos-python PYTHON]`

DBOS is no requirement of the shop: install it (`pip install dbos`) into an environment of its own,
and name that one's Python. Each side runs in a process of its own, one run after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from statistics import median

from bench import servers
from bench.report import Section, figure, ratio
from bench.start import ROOT, run_json

SHOP, DBOS = "a saga of the shop", "DBOS Transact"
TEXT = """\
Medians of {rounds} rounds that alternate, each of {runs} runs of three empty steps in one thread of
a process of its own, each step recorded in PostgreSQL. In parentheses: the smallest and largest
ratio of a round.{missing}"""


def main() -> None:
    """Read the arguments, measure, and publish the table."""
    assert __doc__
    parser = argparse.ArgumentParser("bench.saga", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=200, help="of each side in one round")
    parser.add_argument("--dbos-python", default=os.environ.get("DBOS_PYTHON", sys.executable))
    given = parser.parse_args()
    servers.end_on_signals()
    sides = {SHOP: [sys.executable, "-m", "bench.saga_run"]}
    missing = "" if has_dbos(given.dbos_python) else " DBOS was not measured: it is not installed."
    if not missing:
        sides[DBOS] = [given.dbos_python, str(ROOT / "bench" / "dbos_run.py")]
    text = TEXT.format(rounds=given.rounds, runs=given.runs, missing=missing)
    section(measure(sides, given.rounds, given.runs), text).publish("saga")


def has_dbos(python: str) -> bool:
    """Return whether a Python has DBOS Transact."""
    command = [python, "-c", "import dbos"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def measure(
    sides: dict[str, list[str]], rounds: int, runs: int
) -> dict[str, list[dict[str, float]]]:
    """Return the figures of each side in each round."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with servers.environment() as environment:
        for _ in range(rounds):
            for name, command in sides.items():
                taken[name].append(run_json([*command, str(runs)], environment))
    return taken


def section(taken: dict[str, list[dict[str, float]]], text: str) -> Section:
    """Return the table: medians, and the ratio of the saga to DBOS."""
    rows = []
    for measured in ("CPU", "time"):
        sides = [[one[measured] * 1e3 for one in rounds] for rounds in taken.values()]
        row = [f"{measured} of a run", *(figure(median(side), "ms") for side in sides)]
        rows.append([*row, ratio(*sides) if len(sides) > 1 else "not measured"])
    headings = ["", *taken, f"{SHOP} : {DBOS}"]
    return Section("A saga of three empty steps", headings, rows, text)


if __name__ == "__main__":
    main()
