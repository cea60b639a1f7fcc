"""Columns of lists and read-only fields of pages, declared in one line each, and their formats.

    class OrderAdmin(Record):
        list_display = ["number", "shown_status", "shown_total"]

        number = id_column("id", "order")
        shown_status = state_column("status", {Order.Status.PAID: "success"})
        shown_total = money_column("total")

A list is sorted by the field of such a column. The title is the field's name by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.utils import display_for_label

Colors = Mapping[Any, str]
Column = Callable[[Any, Any], str]

# The colors of unfold's labels for the states of attempts, steps and jobs.
COLORS: Colors = {
    "happened": "info",
    "waiting": "info",
    "done": "success",
    "refused": "danger",
    "parked": "danger",
    "unknown": "warning",
    "to compensate": "warning",
}


def column(title: str, value: Callable[[Any], str], *, ordering: str | None = None) -> Column:
    """Return a method of an admin that shows `value(row)`, sorted by the field `ordering`."""

    @admin.display(description=title, ordering=ordering)
    def shown(self: Any, row: Any) -> str:
        return value(row)

    return shown


def id_column(field: str, title: str) -> Column:
    """Return a column with the end of a long id."""
    return column(title, lambda row: short(getattr(row, field)), ordering=field)


def link_column(model: str, field: str, title: str, text: Callable[[Any], str] = str) -> Column:
    """Return a column with a link to the row of `model` whose id is in `field`. `text` gets the
    id and returns the text of the link."""

    def shown(row: Any) -> str:
        pk = getattr(row, field)
        return "-" if pk is None else link(model, pk, text(pk))

    return column(title, shown, ordering=field)


def links_column(links: Callable[[Any], Iterable[str]]) -> Column:
    """Return the field "see also" with the links that `links(row)` returns."""
    return column("see also", lambda row: "-" if row._state.adding else joined(*links(row)))


def money_column(field: str, title: str = "", *, currency: str = "currency") -> Column:
    """Return a column with an amount in minor units. `currency` is the attribute with
    the row's currency, such as "order.currency", or empty if the row has none."""
    unit: Callable[[Any], str] = attrgetter(currency) if currency else lambda row: ""
    return column(title or field, lambda row: money(getattr(row, field), unit(row)), ordering=field)


def state_column(field: str, colors: Colors | None = None) -> Column:
    """Return a column with a state as a colored label."""
    return column(field, lambda row: label(getattr(row, field), colors or COLORS), ordering=field)


def link(model: str, pk: Any, text: str = "") -> str:
    """Return a link to one row, such as link("orders.order", order_id), in every placement."""
    if pk is None:
        return "-"
    return _link(path_of(model, pk), text or str(pk))


def rows(model: str, text: str, **where: Any) -> str:
    """Return a link to the rows of a model that have these values."""
    return _link(f"{path_of(model)}?{urlencode(where)}", text)


def joined(*links: str) -> str:
    """Return several links as one field, without the empty ones."""
    return format_html_join(" · ", "{}", [(link,) for link in links if link != "-"])


def short(identifier: Any) -> str:
    """Return the end of a long id, which is its distinctive part and is used in mails."""
    return "-" if identifier is None else f"…{str(identifier)[-8:]}"


def money(amount: int | None, currency: str) -> str:
    """Return an amount in minor units as text: 1800 EUR is "18.00 EUR"."""
    return "-" if amount is None else f"{amount / 100:,.2f} {currency}".strip()


def label(state: str, colors: Colors = COLORS) -> str:
    """Return a state as a colored label, for lists and pages."""
    shown: str = display_for_label(state, "-", colors)
    return shown


def path_of(model: str, pk: Any = None) -> str:
    """Return the path of the list of a model such as "orders.order", or of one row, in every
    placement."""
    app, _, name = model.partition(".")
    row = [] if pk is None else [quote(pk)]
    if app in settings.TOPOLOGY.contexts and app not in settings.DEPLOYMENT.contexts:
        below = "".join(f"{each}/change/" for each in row)
        return f"{reverse('admin:index')}{app}/{name}/{below}"
    return reverse(f"admin:{app}_{name}_{'change' if row else 'changelist'}", args=row)


def _link(url: str, text: str) -> str:
    return format_html('<a href="{}" class="text-link">{}</a>', url, text)
