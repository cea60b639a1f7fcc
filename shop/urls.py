"""The shop's URLs: those of the package and of its contexts. The gateway's storefront is the front
page; deployments without it have the documents of their API there."""

from django.urls import path
from django.views.generic import RedirectView

from severable.urls import *  # noqa: F403
from severable.urls import urlpatterns

urlpatterns = [*urlpatterns, path("", RedirectView.as_view(url="/api/docs"))]
