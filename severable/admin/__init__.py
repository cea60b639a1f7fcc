"""The admin pages of the package's own models, and the building blocks of contexts' pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from severable.doors import door

if TYPE_CHECKING:
    from severable.admin.columns import column as column
    from severable.admin.columns import id_column as id_column
    from severable.admin.columns import link as link
    from severable.admin.columns import link_column as link_column
    from severable.admin.columns import links_column as links_column
    from severable.admin.columns import money as money
    from severable.admin.columns import money_column as money_column
    from severable.admin.columns import rows as rows
    from severable.admin.columns import short as short
    from severable.admin.columns import state_column as state_column
    from severable.admin.filters import choice_filter as choice_filter
    from severable.admin.jobs import JobAdmin as JobAdmin
    from severable.admin.site import ContextAdmin as ContextAdmin
    from severable.admin.site import Record as Record
    from severable.admin.site import Rows as Rows
    from severable.admin.site import row_action as row_action
    from severable.admin.site import timeline as timeline
else:
    __getattr__ = door(
        __name__,
        {
            "ContextAdmin": "site",
            "JobAdmin": "jobs",
            "Record": "site",
            "Rows": "site",
            "choice_filter": "filters",
            "column": "columns",
            "id_column": "columns",
            "link": "columns",
            "link_column": "columns",
            "links_column": "columns",
            "money": "columns",
            "money_column": "columns",
            "row_action": "site",
            "rows": "columns",
            "short": "columns",
            "state_column": "columns",
            "timeline": "site",
        },
    )

__all__ = [
    "ContextAdmin",
    "JobAdmin",
    "Record",
    "Rows",
    "choice_filter",
    "column",
    "id_column",
    "link",
    "link_column",
    "links_column",
    "money",
    "money_column",
    "row_action",
    "rows",
    "short",
    "state_column",
    "timeline",
]
