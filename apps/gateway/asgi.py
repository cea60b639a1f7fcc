"""What this deployment answers by asking others; `severable.http.serving` finds it here."""

from django.conf import settings

from apps.gateway.proxy import Gateway, upstreams
from apps.gateway.urls import urlpatterns

forward = Gateway(
    upstreams(settings.TOPOLOGY, settings.PLACEMENT, settings.DEPLOYMENT), urlpatterns
)
