"""The shop's URLs: those of the package and of its contexts, and the front page."""

from django.urls import path
from django.views.generic import RedirectView

from severable.urls import *  # noqa: F403
from severable.urls import urlpatterns

urlpatterns = [path("", RedirectView.as_view(url="/api/docs")), *urlpatterns]
