"""The same for DBOS Transact, by a Python that has it: bench/saga.py."""

from __future__ import annotations

import json
import os
import sys
import time

from dbos import DBOS, DBOSConfig

WARM_UP = 20
URL = os.environ["DATABASE_URL"].replace("postgres://", "postgresql://")
CONFIG: DBOSConfig = {
    "name": "bench",
    "system_database_url": f"{URL}-dbos",
    "run_admin_server": False,
    "log_level": "ERROR",
}
DBOS(config=CONFIG)


@DBOS.step()
def nothing() -> None:
    """Do nothing: what is measured is the workflow."""


@DBOS.workflow()
def run() -> None:
    """Run three steps that do nothing."""
    nothing()
    nothing()
    nothing()


def main() -> None:
    """Run as many workflows as the argument says."""
    runs = int(sys.argv[1])
    DBOS.launch()
    for _ in range(WARM_UP):
        run()
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(runs):
        run()
    took, spent = time.perf_counter() - start, time.process_time() - cpu
    DBOS.destroy()
    print(json.dumps({"CPU": spent / runs, "time": took / runs}))


if __name__ == "__main__":
    main()
