"""The URLs of books."""

from django.urls import path

from apps.books import api

urlpatterns = [path("api/loans", api.Loans.as_view())]
