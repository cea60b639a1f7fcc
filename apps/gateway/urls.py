"""The URLs that the gateway composes. Forwarded requests never reach Django."""

from django.urls import path

from apps.gateway import api

urlpatterns = [path("api/orders/<uuid:order_id>/summary", api.OrderSummary.as_view())]
