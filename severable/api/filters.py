"""Search, ordering and bounds of lists, with limits."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from rest_framework import filters, serializers
from rest_framework.request import Request


class Amount(django_filters.NumberFilter):
    """A bound on an integer. To convert a decimal such as 1e999999999 to one takes hours."""

    field_class = forms.IntegerField


class Search(filters.SearchFilter):
    """A search with a limited number of terms, because each is a condition on every field."""

    max_length = 200
    max_terms = 10

    def get_search_terms(self, request: Request) -> list[str]:
        field = serializers.CharField(max_length=self.max_length, allow_blank=True)
        try:
            field.run_validation(request.query_params.get(self.search_param, ""))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({self.search_param: error.detail}) from None
        terms: list[str] = super().get_search_terms(request)
        if len(terms) > self.max_terms:
            message = f"Ensure this field has no more than {self.max_terms} words."
            raise serializers.ValidationError({self.search_param: [message]}, code="max_length")
        return terms


class Ordering(filters.OrderingFilter):
    """Add the primary key as tie-breaker so that pagination is stable."""

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> list[str]:
        return [*(super().get_ordering(request, queryset, view) or ()), "pk"]
