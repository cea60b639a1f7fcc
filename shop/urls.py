"""All addresses: each context of this deployment brings its own."""

from importlib.util import find_spec

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path
from django.views.generic import RedirectView

from severable.api import health, internal, metrics
from severable.api.documents import DocsView, SchemaView
from severable.api.forms import SignInForm

handler400 = "severable.api.errors.bad_request"
handler403 = "severable.api.errors.forbidden"
handler404 = "severable.api.errors.not_found"
handler500 = "severable.api.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs")),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.metrics),
    path("admin/", admin.site.urls),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", DocsView.as_view(url_name="schema"), name="docs"),
    path(
        "api/login/",
        LoginView.as_view(
            template_name="rest_framework/login.html", authentication_form=SignInForm
        ),
    ),
    path("api/", include("rest_framework.urls")),
    *internal.urlpatterns(),
    *(
        path("", include(f"apps.{context}.urls"))
        for context in settings.DEPLOYMENT.contexts
        if find_spec(f"apps.{context}.urls")
    ),
]
