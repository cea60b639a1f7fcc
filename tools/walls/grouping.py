"""Groups of apps that belong together: candidates for contexts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

from tools.walls.crossings import Crossing, Kind

# Foreign keys and lookups are harder to replace than imports. Migrations repeat foreign keys.
WEIGHTS = {Kind.FOREIGN_KEY: 3, Kind.LOOKUP: 3, Kind.SIGNAL: 1, Kind.IMPORT: 1, Kind.MIGRATION: 0}

Group = tuple[str, ...]
Pair = frozenset[str]


def propose(labels: Iterable[str], crossings: Iterable[Crossing], count: int = 0) -> list[Group]:
    """Return groups of apps with few crossings between them, largest first.

    Merges, beginning with each app alone, the two groups whose merger raises the modularity most
    (Newman, "Fast algorithm for detecting community structure in networks", 2004).

    Args:
        labels: the apps.
        crossings: their crossings.
        count: merge until so many groups are left, also if the modularity falls; 0 stops when it
            would fall.
    """
    weights: Counter[Pair] = Counter()
    for crossing in crossings:
        weights[frozenset((crossing.source, crossing.target))] += WEIGHTS[crossing.kind]
    groups = [frozenset([label]) for label in sorted(labels)]
    while len(groups) > max(count, 1):
        gain, left, right = max(
            (_gain(weights, left, right), left, right) for left, right in _pairs(groups)
        )
        if gain <= 0 and not count:
            break
        groups = [each for each in groups if each not in (left, right)] + [left | right]
    return sorted((tuple(sorted(each)) for each in groups), key=lambda g: (-len(g), g))


def _pairs(groups: list[frozenset[str]]) -> Iterable[tuple[frozenset[str], frozenset[str]]]:
    return combinations(sorted(groups, key=sorted), 2)


def _gain(weights: Counter[Pair], left: frozenset[str], right: frozenset[str]) -> float:
    """Return by how much the modularity changes if two groups become one."""
    total = sum(weights.values()) or 1
    between = sum(w for pair, w in weights.items() if pair & left and pair & right)
    return between / total - _degree(weights, left) * _degree(weights, right) / (2 * total**2)


def _degree(weights: Counter[Pair], group: frozenset[str]) -> int:
    return sum(weight * len(pair & group) for pair, weight in weights.items())
