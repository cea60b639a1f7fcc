"""The URLs that the gateway composes, and those of the storefront. Forwarded requests never reach
Django."""

from django.urls import include, path

from apps.gateway import api

# Paths among the routes of other contexts, which are not forwarded.
composed = [path("api/orders/<uuid:order_id>/summary", api.OrderSummary.as_view())]
urlpatterns = [*composed, path("", include("apps.gateway.storefront.urls"))]
