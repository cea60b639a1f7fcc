"""The URLs of the plain monolith: the paths that the shop has, so that clients are the same."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView

from bench.plain.store import api

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/auth/token", TokenObtainPairView.as_view()),
    path("api/inventory/products/<str:sku>", api.ProductDetail.as_view()),
    path("api/orders", api.Orders.as_view()),
]
