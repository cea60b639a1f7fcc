"""URLs of a deployment: probes, the admin, the API's pages, /internal/, and those of its contexts.

A project's URLconf begins with `from severable.urls import *`, which brings the error handlers too,
and extends `urlpatterns`.
"""

from importlib.util import find_spec

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path

from severable import project
from severable.api import health, internal, metrics
from severable.api.documents import DocsView, SchemaView
from severable.api.forms import SignInForm

handler400 = "severable.api.errors.bad_request"
handler403 = "severable.api.errors.forbidden"
handler404 = "severable.api.errors.not_found"
handler500 = "severable.api.errors.server_error"

urlpatterns = [
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
        path("", include(f"{project.CONTEXTS}.{context}.urls"))
        for context in settings.DEPLOYMENT.contexts
        if find_spec(f"{project.CONTEXTS}.{context}.urls")
    ),
]

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]
