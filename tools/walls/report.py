"""The report of `manage.py walls`: a table for people, and a picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tools.walls.crossings import REPLACEMENTS, Crossing, Kind
from tools.walls.grouping import Group
from tools.walls.project import Project


def text(project: Project, crossings: list[Crossing], groups: list[Group], examples: int) -> str:
    """Return the crossings by pair of apps, the proposed contexts, and what each would leave.

    Args:
        project: the project.
        crossings: its crossings.
        groups: the proposed contexts.
        examples: how many places to list for each kind of a pair.
    """
    without = sum(not project.owner(module.name) for module in project.modules)
    parts = [
        f"{len(project.apps)} apps, {len(crossings)} crossings",
        f"{without} of {len(project.modules)} files belong to no app; they are not counted",
        *_pairs(crossings, examples),
        *_proposal(crossings, groups),
        *[f"Not parsed: {each}" for each in project.skipped],
    ]
    return "\n".join(parts)


def mermaid(crossings: list[Crossing], groups: list[Group]) -> str:
    """Return a flowchart: the proposed contexts with their apps, and the crossings as arrows."""
    lines = ["flowchart LR"]
    for number, group in enumerate(groups, 1):
        nodes = [f"        {label}" for label in group]
        lines += [f'    subgraph context{number}["context {number}"]', *nodes, "    end"]
    counts = Counter((each.source, each.target) for each in crossings)
    lines += [f"    {a} -->|{count}| {b}" for (a, b), count in sorted(counts.items())]
    return "\n".join(lines)


def _pairs(crossings: list[Crossing], examples: int) -> Iterator[str]:
    places: dict[tuple[str, str], dict[Kind, list[Crossing]]] = defaultdict(dict)
    for each in crossings:
        places[each.source, each.target].setdefault(each.kind, []).append(each)
    for (source, target), kinds in sorted(places.items()):
        yield f"\n{source} → {target}"
        for kind in [kind for kind in Kind if kind in kinds]:
            found = kinds[kind]
            yield f"  {kind}: {len(found)}"
            yield from (f"    {each.place}  {each.what}" for each in found[:examples])
            if examples and len(found) > examples:
                yield f"    … {len(found) - examples} more (--examples)"


def _proposal(crossings: list[Crossing], groups: list[Group]) -> Iterator[str]:
    home = {label: number for number, group in enumerate(groups, 1) for label in group}
    left = [each for each in crossings if home[each.source] != home[each.target]]
    yield f"\nProposed contexts: {len(groups)}; {len(left)} of {len(crossings)} crossings are left"
    for number, group in enumerate(groups, 1):
        leaving = Counter(each.kind for each in left if home[each.source] == number)
        counts = ", ".join(f"{kind} {leaving[kind]}" for kind in Kind if leaving[kind])
        yield f"  {number}. {', '.join(group)}"
        yield f"     leaves: {counts or 'nothing'}"
    if left:
        yield "\nWhat replaces a crossing"
        kinds = {each.kind for each in left}
        yield from (f"  {kind}: {REPLACEMENTS[kind]}" for kind in Kind if kind in kinds)
        yield "  Examples of each are in docs/bring-your-app.md."
