"""The deployment for each public path, for the edge."""

from __future__ import annotations

from dataclasses import dataclass

from severable.topology import ENTRY, Context, Deployment, Topology, admin_paths


@dataclass(frozen=True)
class Route:
    """A path and all below it, or with "*" for one part exactly that path."""

    path: str  # such as "/api/orders" or "/api/orders/*/summary"
    deployment: Deployment
    permission: str = ""  # that the caller's token must carry

    @property
    def exact(self) -> bool:
        """Return whether the path has nothing below it."""
        return "*" in self.path


def routes(topology: Topology, placement: str) -> list[Route]:
    """Return the routes of a placement, the most particular first.

    The last one is "/", for all that no context names: it is the entry's, with the index of the
    admin, the documents and the health checks.
    """
    entry = topology.where(placement, ENTRY)
    found = [
        Route(path, topology.where(placement, context.name), permission)
        for context in topology.contexts.values()
        for path, permission in _paths(context).items()
    ]
    for path, context in admin_paths(topology, placement).items():
        deployment = topology.where(placement, context)
        if deployment != entry:
            found.append(Route(path, deployment))
    found.sort(key=lambda route: (not route.exact, -len(route.path), route.path))
    return [*found, Route("/", entry)]


def _paths(context: Context) -> dict[str, str]:
    paths = dict.fromkeys((*context.composed, *context.routes), "")
    return paths | context.guarded
