"""The base of all contexts' admins: read-only rows, links by id, and actions that call services.

An admin shows only its own context's tables. A row of another context is a link by id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.timezone import localtime
from unfold.admin import ModelAdmin, TabularInline
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.paginator import InfinitePaginator

from severable.admin.columns import label
from severable.errors import DomainError, OutcomeUnknown
from severable.telemetry.correlation import acting

# The lookups that the built-in filters of a field use in a list's URL.
LOOKUPS = ("", "__exact", "__isnull", "__isempty", "__gte", "__lt")

Do = Callable[[Any], object]


class ContextAdmin(ModelAdmin):
    """An admin that sets the signed-in user as the actor, and shows domain errors as messages.

    It deletes nothing: other contexts may refer to the id.
    """

    icon = "table_rows"
    list_per_page = 50
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the lookups of the list's filters, and exact ones of its search fields.

        Django allows every lookup of every field, so that hidden values can be guessed letter by
        letter from the number of rows.
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
        """Return whether the user may run actions: Django's permission to change rows."""
        return admin.ModelAdmin.has_change_permission(self, request)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        acting(f"user-{request.user.pk}")
        try:
            response: HttpResponse = super().changeform_view(request, *args, **kwargs)
            return response
        except DomainError as error:
            self.message_user(request, error.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def carry_out(self, request: HttpRequest, rows: Iterable[Any], do: Do, done: str) -> None:
        """Run an action on each row and show the results as messages. Not inside a transaction: an
        action may call other contexts."""
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
        """Run an action on one row, from a dialog on its page."""
        row = self.get_object(request, unquote(object_id))
        self.carry_out(request, [row] if row else [], do, done)
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if row:
            url += f"{quote(row.pk)}/change/"
        return HttpResponse(headers={"HX-Redirect": url})


class Record(ContextAdmin):
    """A read-only admin, for rows that only services change. There may be many rows: they are not
    counted, and `search_fields` are compared exactly, so that an index is used."""

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
    """Read-only rows of the same context, inline on the page of their parent."""

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
    """Return two actions: one for the selected rows of the list, and one for a button on the
    row's own page, which asks for confirmation.

        ship, ship_one = row_action(_ship, "Ship", "shipped", icon="local_shipping")
        actions, actions_detail = ["ship"], ["ship_one"]

    `do` gets the values of `form` by name. The list has these fields in its `action_form`.
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
    def selected(self: ContextAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
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

    return selected, one


def timeline(moments: Iterable[Any]) -> dict[str, Any]:
    """Return a table for "severable/story.html". Each moment has `at` (None if it is in the
    future), `what`, `state` and `detail`."""
    return {
        "headers": ["Time", "Step", "State", "Detail"],
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
