"""Filters of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest


def choice_filter(
    field: str, values: Callable[[], Iterable[str]], title: str = ""
) -> type[admin.SimpleListFilter]:
    """Return a filter of a list by the values that a field can have. Django's own filter reads the
    whole table to find them. The title is the field's name by default."""

    class ChoiceFilter(admin.SimpleListFilter):
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(value, value) for value in sorted(set(values()))]

        def queryset(self, request: HttpRequest, queryset: Any) -> Any:
            value = self.value()
            return queryset.filter(**{field: value}) if value else queryset

    ChoiceFilter.title = title or field
    return ChoiceFilter
