"""The requests that this deployment forwards; `severable.http.serving` finds this."""

from django.conf import settings

from apps.gateway.proxy import Gateway, upstreams
from apps.gateway.urls import urlpatterns

forward = Gateway(
    upstreams(settings.TOPOLOGY, settings.PLACEMENT, settings.DEPLOYMENT), urlpatterns
)
