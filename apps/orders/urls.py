"""The routes of orders."""

from django.urls import path

from apps.orders import api

urlpatterns = [
    path("api/orders", api.Orders.as_view()),
    path("api/orders/<uuid:order_id>", api.OneOrder.as_view()),
    path("api/orders/<uuid:order_id>/cancel", api.Cancel.as_view()),
    path("api/orders/<uuid:order_id>/ship", api.Ship.as_view()),
    path("api/orders/<uuid:order_id>/timeline", api.Timeline.as_view()),
    path("api/admin/orders", api.OrdersFor.as_view()),
]
