"""What the admins of all contexts share: rows that nobody changes by hand, links by id, actions
that go through services.

An admin shows its own context's tables only. What belongs to another context is a link by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin, TabularInline
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.paginator import InfinitePaginator
from unfold.utils import display_for_label

from severable.errors import DomainError, OutcomeUnknown
from severable.telemetry.correlation import acting

# What the built-in filters of a field add to its name in a list's address.
LOOKUPS = ("", "__exact", "__isnull", "__isempty", "__gte", "__lt")

Colours = Mapping[Any, str]
Do = Callable[[Any], object]

# How attempts, steps and work stand, in colours of unfold's labels.
COLOURS: Colours = {
    "happened": "info",
    "waiting": "info",
    "done": "success",
    "refused": "danger",
    "parked": "danger",
    "unknown": "warning",
    "to compensate": "warning",
}


class ContextAdmin(ModelAdmin):
    """Changes are recorded as those of whoever is signed in, and a refusal becomes a message.

    Nothing is deleted: other contexts may know its id.
    """

    icon = "table_rows"
    list_per_page = 50
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Narrow a list only by its filters, and by the whole value of what it is searched by.

        Django allows every lookup of every field, so that values which no page shows can be found
        out letter by letter from the number of rows.
        """
        allowed = {f"{name}{suffix}" for name in self.search_fields for suffix in ("", "__exact")}
        for declared in self.list_filter:
            if isinstance(declared, type) and issubclass(declared, admin.SimpleListFilter):
                allowed.add(str(declared.parameter_name))
            else:
                name = declared if isinstance(declared, str) else declared[0]
                allowed.update(f"{name}{suffix}" for suffix in LOOKUPS)
        return lookup in allowed

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may change rows by Django's permissions may run actions on them."""
        return admin.ModelAdmin.has_change_permission(self, request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        acting(f"user-{request.user.pk}")
        try:
            answer: HttpResponse = super().changeform_view(request, *args, **kwargs)
            return answer
        except DomainError as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def carry_out(self, request: HttpRequest, rows: Iterable[Any], do: Do, done: str) -> None:
        """Do something to each row and say how it went. Not inside a transaction: what is done
        may call other contexts."""
        acting(f"user-{request.user.pk}")
        succeeded = 0
        for row in rows:
            try:
                do(row)
                succeeded += 1
            except (DomainError, OutcomeUnknown) as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
        if succeeded:
            what = model_ngettext(self.opts, succeeded)
            self.message_user(request, f"{succeeded} {what} {done}.", messages.SUCCESS)

    def carry_out_one(
        self, request: HttpRequest, object_id: str, do: Do, done: str
    ) -> HttpResponse:
        """The same for one row, from a dialog on its page."""
        row = self.get_object(request, unquote(object_id))
        self.carry_out(request, [row] if row else [], do, done)
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if row:
            url += f"{quote(row.pk)}/change/"
        return HttpResponse(headers={"HX-Redirect": url})


class Record(ContextAdmin):
    """Rows that are seen, and changed by services only. There may be many of them: they are
    not counted, and `search_fields` are compared whole, so that an index finds them."""

    paginator = InfinitePaginator
    list_disable_select_all = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        names = (self.opts.get_field(name).verbose_name for name in self.search_fields)
        self.search_help_text = f"The whole {' or '.join(map(str, names))}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(pk__in=[])
        for name in self.search_fields:
            field = self.opts.get_field(name)
            try:
                found |= Q(**{f"{name}__pk" if field.is_relation else name: field.to_python(term)})
            except ValidationError:
                continue
        return queryset.filter(found), False


class Rows(TabularInline):
    """Rows of the same context on the page of what they belong to."""

    extra = 0
    can_delete = False
    hide_title = True
    related: list[str] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)
        return found.select_related(*self.related) if self.related else found

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def row_action(
    do: Callable[..., object],
    title: str,
    done: str,
    *,
    icon: str,
    form: type[BaseDialogForm] = BaseDialogForm,
) -> tuple[Any, Any]:
    """One thing that can be done to a row, as two actions: for the rows that are ticked in the
    list, and as a button of the row's own page, which asks first.

        ship, ship_one = row_action(_ship, "Ship", "shipped", icon="local_shipping")
        actions, actions_detail = ["ship"], ["ship_one"]

    What `form` asks for, `do` gets by name. The list asks for it in the admin's `action_form`.
    """
    dialog: ActionDialog = {
        "title": f"{title}?",
        "description": "",
        "form_class": form,
        "form_submit_text": title,
    }

    def given(filled: BaseDialogForm) -> Do:
        values = {k: v for k, v in filled.cleaned_data.items() if not k.startswith("_")}
        return partial(do, **values)

    @action(description=title, icon=icon, permissions=["act"])
    def ticked(self: ContextAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        filled = form(data={**request.POST.dict(), "_form_submitted": True}, request=request)
        if filled.is_valid():
            self.carry_out(request, queryset, given(filled), done)
        for name, errors in filled.errors.items():
            self.message_user(request, f"{title}: {name}: {' '.join(errors)}", messages.ERROR)

    @action(description=title, icon=icon, permissions=["act"], dialog=dialog)
    def one(
        self: ContextAdmin, request: HttpRequest, filled: BaseDialogForm, object_id: str
    ) -> HttpResponse:
        return self.carry_out_one(request, object_id, given(filled), done)

    return ticked, one


def link(model: str, pk: Any, text: str = "") -> str:
    """A link to one row, such as link("orders.order", order_id). Without a link where the admin
    of that context runs elsewhere."""
    if pk is None:
        return "-"
    return _link(f"admin:{model.replace('.', '_')}_change", [quote(pk)], "", text or str(pk))


def rows(model: str, text: str, **where: Any) -> str:
    """A link to the rows of a model that have these values."""
    return _link(f"admin:{model.replace('.', '_')}_changelist", [], f"?{urlencode(where)}", text)


def joined(*links: str) -> str:
    """Several links in one field, without those that lead nowhere."""
    return format_html_join(" · ", "{}", [(link,) for link in links if link != "-"])


def short(identifier: Any) -> str:
    """The end of a long id, which is what differs, and what mails to customers name."""
    return "-" if identifier is None else f"…{str(identifier)[-8:]}"


def money(amount: int | None, currency: str) -> str:
    """Minor units as people write them: 1800 EUR is "18.00 EUR"."""
    return "-" if amount is None else f"{amount / 100:,.2f} {currency}".strip()


def label(state: str, colours: Colours = COLOURS) -> str:
    """A state in its colour, in lists and on pages alike."""
    shown: str = display_for_label(state, "-", colours)
    return shown


def told(moments: Iterable[Any]) -> dict[str, Any]:
    """A story as a table for "severable/story.html". Each moment has `at` (None where it has
    yet to come), `what`, `state` and `detail`."""
    return {
        "headers": ["When", "What", "How it stands", "Detail"],
        "rows": [
            [
                localtime(moment.at).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if moment.at else "",
                moment.what,
                label(moment.state),
                moment.detail,
            ]
            for moment in moments
        ],
    }


def _link(view: str, args: list[str], query: str, text: str) -> str:
    try:
        url = reverse(view, args=args)
    except NoReverseMatch:
        return text
    return format_html('<a href="{}{}" class="text-link">{}</a>', url, query, text)
