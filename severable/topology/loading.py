"""Reading topology.toml. Each fault is reported with its line and its key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from severable import project
from severable.topology import addresses, checks, deployable
from severable.topology.model import METHOD, Topology, TopologyError
from severable.topology.problem import Place, Problem

KINDS = ("web", "worker", "relay")
TABLES = {"contexts", "calls", "methods", "faults", "cached", "placements", "processes"}
TABLES |= {"edge", "deploy"}
Entry = dict[str, Any]


def path() -> Path:
    """Return the file that holds: topology.toml, or the one that SHOP_TOPOLOGY names."""
    given = os.environ.get("SHOP_TOPOLOGY")
    return Path(given) if given else project.root() / "topology.toml"


def load(path: Path) -> Topology:
    """Read and check a topology file.

    Raises TopologyError with a line for each fault, such as
    "topology.toml:31: calls.retries: -1: input should be greater than or equal to 0".
    """
    try:
        text = path.read_text()
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TopologyError(f"{path}: {error}") from None
    refuse(path, text, _misplaced(raw))
    refuse(path, text, [*_without_owner(raw), *addresses.problems(raw)])
    try:
        found = TypeAdapter(Topology).validate_python(_filled_in(raw))
    except ValidationError as invalid:
        refuse(path, text, (_problem(error, raw) for error in invalid.errors(include_url=False)))
        raise
    refuse(path, text, checks.structure(found))
    return found


def refuse_undeployable(path: Path, topology: Topology) -> None:
    """Raise TopologyError if the shop would run by this file, but should not be deployed by it."""
    refuse(path, path.read_text(), deployable.problems(topology))


def refuse(path: Path, text: str, problems: Iterable[Problem]) -> None:
    """Raise TopologyError if there are problems, each with its place in the file's text."""
    lines = dict.fromkeys(_said(path, text, problem) for problem in problems)
    if lines:
        raise TopologyError("\n".join(lines))


def _said(path: Path, text: str, problem: Problem) -> str:
    if not problem.place:
        return problem.text
    line = line_of(text, problem.place)
    return f"{path.name}{f':{line}' if line else ''}: {problem}"


def line_of(text: str, place: Place) -> int:
    """Return the line of a key or, if it is not set, of the nearest table around it; else 0.

    The standard library's parser keeps no line numbers, so this searches for headers and keys at
    the beginning of a line.
    """
    table: Place = ()
    lines: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
            table = _keys(header[1])
            lines.setdefault(table, number)
        elif key := re.match(r"""\s*([\w.-]+|"[^"]*"|'[^']*')\s*=""", line):
            lines.setdefault((*table, *_keys(key[1])), number)
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 0)


def _keys(dotted: str) -> Place:
    found: Place = ()
    inner: Any = tomllib.loads(f"{dotted} = 0")
    while isinstance(inner, dict):
        [(key, inner)] = inner.items()
        found += (key,)
    return found


def _misplaced(raw: Entry) -> Iterator[Problem]:
    """Yield the problems that prevent further checks."""
    for name in sorted(raw.keys() - TABLES):
        yield Problem((name,), f"unknown table; there is: {', '.join(sorted(TABLES))}")
    for place, entry in _tables(raw):
        if not isinstance(entry, dict):
            yield Problem(place, f"{entry!r} is no table")
    for name in ("contexts", "calls", "placements"):
        if name not in raw:
            yield Problem((name,), "is missing")


def _without_owner(raw: Entry) -> Iterator[Problem]:
    packages = {entry.get("package") for entry in raw["contexts"].values()}
    for method in raw.get("methods", {}):
        if not re.fullmatch(METHOD, method) or method.partition(".")[0] not in packages:
            yield Problem(("methods", method), "no context has this method")


def _tables(raw: Entry) -> Iterator[tuple[Place, Any]]:
    """Yield the values that must be tables, with their places."""
    for name, table in raw.items():
        yield (name,), table
        nested = isinstance(table, dict) and name not in ("calls", "edge", "deploy")
        for key, entry in table.items() if nested else ():
            yield (name, key), entry
            if name == "placements" and isinstance(entry, dict):
                yield from (((name, key, each), inner) for each, inner in entry.items())


def _filled_in(raw: Entry) -> Entry:
    """Return the input for the types of `model`, with names, defaults and derived values."""
    owners = {entry.get("package"): name for name, entry in raw["contexts"].items()}
    default = _defaults(raw["calls"])
    return {
        "contexts": {name: {**entry, "name": name} for name, entry in raw["contexts"].items()},
        "placements": {
            placement: {
                name: _deployment(raw, placement, name, entry)
                for name, entry in deployments.items()
            }
            for placement, deployments in raw["placements"].items()
        },
        "policies": {
            name: {
                **default,
                **raw["calls"].get(name, {}),
                "methods": _methods(raw, entry.get("package")),
            }
            for name, entry in raw["contexts"].items()
        },
        "overrides": [name for name in raw["calls"] if name not in default],
        "timeout": default.get("timeout"),
        "faults": raw.get("faults", {}),
        "cached": [_cached(method, e, owners) for method, e in raw.get("cached", {}).items()],
        "edge": raw.get("edge"),
        "deploy": raw.get("deploy"),
    }


def _defaults(calls: Entry) -> Entry:
    return {name: value for name, value in calls.items() if not isinstance(value, dict)}


def _methods(raw: Entry, package: str | None) -> Entry:
    return {
        f"/{method}": entry
        for method, entry in raw.get("methods", {}).items()
        if package and method.startswith(f"{package}.")
    }


def _cached(method: str, entry: Entry, owners: dict[str, str]) -> Entry:
    package = method.partition(".")[0]
    more: Entry = {"method": method, "owner": owners.get(package, "")}
    if isinstance(entry.get("invalidated_by"), list):
        more["invalidated_by"] = [f"{package}.{event}" for event in entry["invalidated_by"]]
    return {**entry, **more}


def _deployment(raw: Entry, placement: str, name: str, entry: Entry) -> Entry:
    alone = len(raw["placements"][placement]) == 1
    run = entry.get("contexts", ())
    found = {key: value for key, value in entry.items() if key not in KINDS}
    for kind in addresses.KINDS & entry.keys():
        found[kind] = addresses.of(name, kind, entry[kind])
    found["name"] = name
    found["queues"] = [c for c in run if raw["contexts"].get(c, {}).get("package")]
    found.setdefault("database", "" if alone else name)
    default = raw.get("processes", {})
    merged = {k: {**default.get(k, {}), **entry.get(k, {})} for k in (*default, *KINDS)}
    if any(merged.values()):
        found["processes"] = {kind: given for kind, given in merged.items() if given}
    return found


def _problem(error: Any, raw: Entry) -> Problem:
    """Return a fault that was found in what `_filled_in` made, with its place in the file."""
    found = [str(key) for key in error["loc"]]
    match found:
        case ["policies", _, "methods", method, *rest]:
            found = ["methods", method.removeprefix("/"), *rest]
        case ["policies", context, *rest]:
            own = rest and rest[0] in raw["calls"].get(context, {})
            found = ["calls", *([context] if own else []), *rest]
        case ["cached", index, *rest]:
            found = ["cached", list(raw["cached"])[int(index)], *rest]
        case ["placements", placement, name, "processes", kind, *rest]:
            own = rest and rest[0] in raw["placements"][placement][name].get(kind, {})
            found = [*(found[:3] if own else ["processes"]), kind, *rest]
        case ["timeout"]:
            found = ["calls", "timeout"]
    return Problem(tuple(found), _message(error))


def _message(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "unexpected_keyword_argument":
        return "unknown key"
    message = str(error["msg"])
    return f"{error['input']!r}: {message[0].lower()}{message[1:]}"
