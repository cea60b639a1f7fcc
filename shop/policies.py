"""How contexts are called: [calls], [faults] and [cached] of topology.toml, read and checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

Limit = tuple[type, float, float]

POLICY_LIMITS: dict[str, Limit] = {
    "timeout": (float, 0.001, 600),
    "retries": (int, 0, 10),
    "retry_budget": (float, 0, 1),
    "concurrency": (int, 1, 10_000),
    "breaker_failures": (int, 1, 10_000),
    "breaker_seconds": (float, 0, 600),
}
FAULT_LIMITS: dict[str, Limit] = {
    "delay": (float, 0, 600),
    "delay_percent": (float, 0, 100),
    "abort_percent": (float, 0, 100),
}
ABORTS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL")

LONGEST_CACHED = 86_400  # seconds


class TopologyError(Exception):
    """topology.toml asks for something that cannot work. The text names the entry."""


@dataclass(frozen=True)
class Policy:
    """How calls to a context are made; topology.toml says what each means."""

    timeout: float
    retries: int
    retry_budget: float
    concurrency: int
    breaker_failures: int
    breaker_seconds: float


@dataclass(frozen=True)
class Fault:
    """What goes wrong on purpose with calls to a context; topology.toml says what each means."""

    delay: float = 0.0
    delay_percent: float = 0.0
    abort: str = "UNAVAILABLE"
    abort_percent: float = 0.0


@dataclass(frozen=True)
class Cached:
    """A method whose answers are kept by the deployments that call it from outside."""

    method: str  # such as "user.UserService/GetUser"
    owner: str  # the context whose method it is
    seconds: float
    key: str  # a field of the request and of each event: whom it is about
    ended_by: tuple[str, ...]  # types of events, such as "user.UserUpdated"


def policy(calls: dict[str, Any], context: str) -> Policy:
    """What [calls], and [calls.<context>], say of calls to a context."""
    known = {field.name for field in fields(Policy)}
    default = {name: value for name, value in calls.items() if not isinstance(value, dict)}
    own = calls.get(context, {})
    for where, entry in (("calls", default), (f"calls.{context}", own)):
        refuse_unknown(where, entry, known)
    missing = sorted(known - default.keys())
    if missing:
        raise TopologyError(f"calls: {missing[0]!r} is missing")
    _check_numbers(f"calls.{context}" if own else "calls", {**default, **own}, POLICY_LIMITS)
    return Policy(**{**default, **own})


def fault(name: str, entry: dict[str, Any], contexts: Collection[str]) -> Fault:
    """What [faults.<name>] says."""
    where = f"faults.{name}"
    if name not in contexts:
        raise TopologyError(f"{where}: no context {name!r}")
    refuse_unknown(where, entry, {field.name for field in fields(Fault)})
    abort = entry.get("abort", Fault.abort)
    if abort not in ABORTS:
        raise TopologyError(f"{where}.abort: {abort!r}; there is: {', '.join(ABORTS)}")
    _check_numbers(where, {k: v for k, v in entry.items() if k != "abort"}, FAULT_LIMITS)
    return Fault(**entry)


def _check_numbers(where: str, entry: dict[str, Any], limits: dict[str, Limit]) -> None:
    for name, value in entry.items():
        kind, least, most = limits[name]
        wanted = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, wanted) or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise TopologyError(f"{where}.{name}: {value!r} is not {what} from {least} to {most}")


def cached(method: str, entry: dict[str, Any], owners: Mapping[str, str]) -> Cached:
    """What [cached.<method>] says. `owners` are the contexts by their packages."""
    where = f'cached."{method}"'
    known = {"seconds", "key", "ended_by"}
    refuse_unknown(where, entry, known)
    missing = sorted(known - entry.keys())
    if missing:
        raise TopologyError(f"{where}: {missing[0]!r} is missing")
    package = method.partition(".")[0]
    owner = owners.get(package)
    if owner is None or not re.fullmatch(r"\w+\.\w+/\w+", method):
        raise TopologyError(f"{where}: no context has this method")
    seconds, events = entry["seconds"], entry["ended_by"]
    _check_numbers(where, {"seconds": seconds}, {"seconds": (float, 0.001, LONGEST_CACHED)})
    if not events or not isinstance(events, list):
        raise TopologyError(f"{where}.ended_by: no event would end it")
    types = tuple(f"{package}.{event}" for event in events)
    return Cached(method, owner, seconds, entry["key"], types)


def refuse_unknown(where: str, entry: dict[str, Any], known: set[str]) -> None:
    """Raise TopologyError for a key that means nothing."""
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise TopologyError(f"{where}: unknown key {unknown[0]!r}")
