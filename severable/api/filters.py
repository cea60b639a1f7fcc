"""Search, order and bounds of lists, with limits."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from rest_framework import filters, serializers
from rest_framework.request import Request


class Amount(django_filters.NumberFilter):
    """A bound on a whole number. A decimal such as 1e999999999 takes hours to become one."""

    field_class = forms.IntegerField


class Search(filters.SearchFilter):
    """Search terms, each of which becomes a condition on every field: so many, and no more."""

    longest = 200
    most = 10

    def get_search_terms(self, request: Request) -> list[str]:
        field = serializers.CharField(max_length=self.longest, allow_blank=True)
        try:
            field.run_validation(request.query_params.get(self.search_param, ""))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({self.search_param: error.detail}) from None
        terms: list[str] = super().get_search_terms(request)
        if len(terms) > self.most:
            message = f"Ensure this field has no more than {self.most} words."
            raise serializers.ValidationError({self.search_param: [message]}, code="max_length")
        return terms


class Ordering(filters.OrderingFilter):
    """What is alike stays in one order, so that no page repeats what another one showed."""

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> list[str]:
        return [*(super().get_ordering(request, queryset, view) or ()), "pk"]
