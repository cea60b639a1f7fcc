"""The admin pages of the package's own models, and the building blocks of contexts' pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.admin.jobs import JobAdmin as JobAdmin
    from severable.admin.site import ContextAdmin as ContextAdmin
    from severable.admin.site import Record as Record
    from severable.admin.site import Rows as Rows
    from severable.admin.site import joined as joined
    from severable.admin.site import label as label
    from severable.admin.site import link as link
    from severable.admin.site import money as money
    from severable.admin.site import row_action as row_action
    from severable.admin.site import rows as rows
    from severable.admin.site import short as short
    from severable.admin.site import timeline as timeline
else:
    __getattr__ = door(
        __name__,
        {
            "ContextAdmin": "site",
            "JobAdmin": "jobs",
            "Record": "site",
            "Rows": "site",
            "joined": "site",
            "label": "site",
            "link": "site",
            "money": "site",
            "row_action": "site",
            "rows": "site",
            "short": "site",
            "timeline": "site",
        },
    )

__all__ = [
    "ContextAdmin",
    "JobAdmin",
    "Record",
    "Rows",
    "joined",
    "label",
    "link",
    "money",
    "row_action",
    "rows",
    "short",
    "timeline",
]
