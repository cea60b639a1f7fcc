"""The addresses of the gateway: what it composes, then what it forwards."""

from django.conf import settings
from django.urls import path

from apps.gateway import api
from apps.gateway.proxy import forwarded

urlpatterns = [
    path("api/orders/<uuid:order_id>/summary", api.OrderSummary.as_view()),
    *forwarded(settings.TOPOLOGY, settings.PLACEMENT, settings.DEPLOYMENT),
]
