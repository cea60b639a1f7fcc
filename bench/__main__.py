"""Runs all benchmarks and writes docs/results.md: `make bench`, or `python -m bench [PART …]`.

Sections of parts that are not run, or fail, stay as they are in the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import machine, report, servers
from bench.start import ROOT

PARTS = ("orders", "calls", "events", "saga", "gateway", "growth")
RESULTS = ROOT / "docs" / "results.md"
HEAD = """\
# What things cost

Written by `make bench` (see [bench/README.md](../bench/README.md)). Ratios hold, absolute figures
do not: they are of one machine, with {cores} cores, {memory} of memory, Python {Python} and
PostgreSQL {PostgreSQL}, on which clients, servers and all that is measured ran together. Repeat it
on yours before you rely on a figure. The glossary has the terms, such as [saga](glossary.md) and
[relay](glossary.md).
"""


def main() -> None:
    """Run the parts, each in a process of its own, and write their sections."""
    parser = argparse.ArgumentParser("bench", description="Run benchmarks; write docs/results.md.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(PARTS)}")
    servers.end_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        failed = [part for part in parts if not run(part, folder)]
        write({file.stem: file.read_text() for file in Path(folder).iterdir()})
    if failed:
        sys.exit(f"bench: not measured: {', '.join(failed)}")


def run(part: str, folder: str) -> bool:
    """Run a part, and return whether it succeeded. If this process is interrupted, so is it."""
    environment = os.environ | {report.FOLDER: folder}
    with subprocess.Popen(
        [sys.executable, "-m", f"bench.{part}"], cwd=ROOT, env=environment
    ) as process:
        try:
            return process.wait() == 0
        except BaseException:
            process.terminate()
            process.wait()
            raise


def write(sections: dict[str, str]) -> None:
    """Write docs/results.md with these sections, and the others as they are there."""
    known = sections_of(RESULTS.read_text()) if RESULTS.exists() else {}
    found = known | {part: text.strip() for part, text in sections.items()}
    body = [f"<!-- {part} -->\n\n{found[part]}" for part in PARTS if part in found]
    RESULTS.write_text("\n\n".join([HEAD.format(**machine.description()).strip(), *body]) + "\n")


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of docs/results.md by part."""
    parts = [one.partition(" -->") for one in text.split("<!-- ")[1:]]
    return {part: body.strip() for part, _, body in parts}


if __name__ == "__main__":
    main()
