"""The paths of the admin, which are the same in every placement.

/admin/payments/        the tables of a context, in the deployment that runs it
/admin/at/payments/     the tables that every deployment has, such as its events and deliveries
/admin/login/           the sign-in, in the deployment with the user accounts
"""

from __future__ import annotations

from severable.topology.model import Topology

AT = "at"
# Served by the deployment with the user accounts.
OF_ACCOUNTS = ("login", "logout", "password_change")
# Parts of paths that no context may have as its name.
RESERVED = (AT, *OF_ACCOUNTS, "jsi18n")


def admin_paths(topology: Topology, placement: str) -> dict[str, str]:
    """Return the paths of a placement's admin, such as "/admin/payments", each with a context of
    the deployment that serves it. All others are served by the entry's deployment."""
    found = {f"/admin/{context}": context for context in topology.contexts}
    for deployment in topology.deployments(placement):
        found[f"/admin/{AT}/{deployment.name}"] = deployment.contexts[0]
    accounts = topology.accounts
    if accounts:
        found |= {f"/admin/{path}": accounts.name for path in OF_ACCOUNTS}
    return found
