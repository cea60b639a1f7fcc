"""Results: ratios with their spread, in the terminal and as sections of docs/results.md."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = "BENCH_RESULTS"  # the environment's variable: where sections are written, if it is set


@dataclass
class Section:
    """A table with a title, what was measured and how, and what was not."""

    title: str
    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)
    text: str = ""

    def publish(self, part: str) -> None:
        """Print the table and, if `python -m bench` asked for it, write the section to a file."""
        table = Table(title=self.title, caption=" ".join(self.text.split()), caption_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        Console().print(table)
        if folder := os.environ.get(FOLDER):
            (Path(folder) / f"{part}.md").write_text(self.markdown())

    def markdown(self) -> str:
        """Return the section as Markdown."""
        lines = [_line(self.headings), _line(["---"] + ["---:"] * (len(self.headings) - 1))]
        lines += [_line(row) for row in self.rows]
        return "\n".join([f"## {self.title}", "", *lines, "", self.text, ""])


def ratio(values: Sequence[float], floors: Sequence[float]) -> str:
    """Return the median of the rounds' ratios, and their smallest and largest."""
    found = sorted(v / f for v, f in zip(values, floors, strict=True) if f)
    if not found:
        return ""
    median = statistics.median(found)
    spread = f" ({found[0]:.2f}–{found[-1]:.2f})" if len(found) > 1 else ""
    return f"{median:.2f} ×{spread}"


def figure(value: float, unit: str = "") -> str:
    """Return a figure with three digits or so, and its unit."""
    text = (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    )
    return f"{text} {unit}".strip()


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of the values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def say(text: str) -> None:
    """Print to stderr how far a benchmark is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
