"""CPU and memory of processes, read from /proc (Linux), and the machine in general words."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import psycopg

from bench.servers import DATABASE

TICKS = os.sysconf("SC_CLK_TCK")
KINDS = ("web", "worker", "relay", "other")
SIGNS = {"granian": "web", "celery": "worker", "relay": "relay"}  # a word of the command


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    with suppress(OSError):  # it ended just now
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [one for child in children for one in tree(int(child))]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, user and system; 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0


def kind(pid: int) -> str:
    """Return the kind of a process: web, worker, relay, or other."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        names = {Path(word).name for word in words}
        return next((SIGNS[word] for word in SIGNS if word in names), "other")
    return "other"


def cpu_by_kind(pid: int) -> dict[str, float]:
    """Return the CPU seconds of a tree of processes by their kind."""
    seconds: dict[str, float] = {}
    for one in tree(pid):
        seconds[kind(one)] = seconds.get(kind(one), 0.0) + cpu_seconds(one)
    return seconds


def memory(pid: int) -> float:
    """Return the memory of a tree of processes in MiB. Shared pages are divided among those that
    share them (PSS)."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0])
    return total / 1024


def backends(prefix: str) -> dict[int, float]:
    """Return the CPU seconds of PostgreSQL's backends for the databases with a prefix, by process.
    Empty if the server is on another machine."""
    with psycopg.connect(DATABASE, autocommit=True) as server:
        rows = server.execute(
            "SELECT pid FROM pg_stat_activity WHERE starts_with(datname, %s)", [prefix]
        )
        return {pid: cpu_seconds(pid) for (pid,) in rows.fetchall() if _is_postgres(pid)}


def rabbitmq_seconds() -> float:
    """Return the CPU seconds of RabbitMQ on this machine, with all that others do in it."""
    return sum(cpu_seconds(pid) for pid in _processes() if _command(pid) == "beam.smp")


def description() -> dict[str, str]:
    """Return the machine in general words: cores, memory, versions."""
    with psycopg.connect(DATABASE) as server:
        row = server.execute("SHOW server_version").fetchone()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "PostgreSQL": str(row[0]).split()[0] if row else "",
    }


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _is_postgres(pid: int) -> bool:
    return _command(pid) == "postgres"
