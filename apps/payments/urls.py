"""The addresses of payments."""

from django.urls import path

from apps.payments import api

urlpatterns = [
    path("api/payments/<uuid:payment_id>", api.OnePayment.as_view()),
    path("api/payments/<uuid:payment_id>/refund", api.RefundPayment.as_view()),
]
