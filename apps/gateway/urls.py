"""The addresses of what the gateway composes; what it forwards never comes to Django."""

from django.urls import path

from apps.gateway import api

urlpatterns = [path("api/orders/<uuid:order_id>/summary", api.OrderSummary.as_view())]
