"""The addresses of notifications."""

from django.urls import path

from apps.notifications import api

urlpatterns = [path("api/notifications", api.Notifications.as_view())]
