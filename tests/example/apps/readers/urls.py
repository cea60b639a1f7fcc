"""The URLs of readers."""

from django.urls import path

from apps.readers import api

urlpatterns = [
    path("api/readers/token", api.Token.as_view()),
    path("api/readers/me", api.Me.as_view()),
]
