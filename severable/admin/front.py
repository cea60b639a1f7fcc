"""The admin's site: the same paths and one sign-in in every placement."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, include, path, re_path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from severable.api import staff
from severable.api.errors import error_response, wants_html
from severable.api.forms import AdminSignInForm
from severable.topology.admin_paths import AT

View = Callable[..., Any]
# Views about the tables of the deployment that serves them.
OF_DEPLOYMENT = ("autocomplete", "search", "view_on_site")


class Site(UnfoldAdminSite):
    """The admin of a deployment, which is a part of the admin of the whole project.

    The tables of contexts are at /admin/<context>/, all others at /admin/at/<deployment>/. Staff
    sign in at /admin/login/, in the deployment with the user accounts.
    """

    login_form = AdminSignInForm

    def get_urls(self) -> list[Any]:
        """Return Django's URLs, with those of this deployment's own tables below its name."""
        contexts = settings.TOPOLOGY.contexts.keys()
        labels = {model._meta.app_label for model in self._registry}
        *found, catch_all = super().get_urls()
        found = [url for url in found if getattr(url, "name", "") != "app_list"]
        own = [url for url in found if _is_of_deployment(url, contexts)]
        own += [
            path("", self.admin_view(self.index), name="deployment"),
            *self._app_lists(labels - contexts),
        ]
        return [
            *(url for url in found if url not in own),
            *self._app_lists(labels & contexts),
            path(f"{AT}/{settings.DEPLOYMENT.name}/", include(own)),
            catch_all,
        ]

    def _app_lists(self, labels: Iterable[str]) -> list[URLPattern]:
        if not labels:
            return []
        route = rf"^(?P<app_label>{'|'.join(sorted(labels))})/$"
        return [re_path(route, self.admin_view(self.app_index), name="app_list")]

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Return a view for staff only, which renews their token before it expires."""
        shown = super().admin_view(view, cacheable)

        def renewed(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            token = None if settings.ISSUES_TOKENS else staff.token_of(request)
            if token and token.expires_soon and _is_navigation(request):
                return redirect_to_login(request.get_full_path(), reverse("admin:login"))
            return shown(request, *args, **kwargs)

        return update_wrapper(renewed, shown)

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Sign in, or redirect staff who have signed in back to `next` with a new token."""
        if not settings.ISSUES_TOKENS:
            detail = "Staff sign in at the public address of the admin, not at this deployment's."
            return error_response(request, HTTPStatus.FORBIDDEN, "sign_in_elsewhere", detail)
        if not (request.method == "GET" and self.has_permission(request)):
            shown: HttpResponse = super().login(request, extra_context)
            if shown.status_code != HTTPStatus.FOUND or not self.has_permission(request):
                return shown
        response = HttpResponseRedirect(_next(request))
        staff.issue(response, request.user)
        return response

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Sign out of all deployments."""
        response: HttpResponse = super().logout(request, extra_context)
        staff.sign_out(response)
        return response


def _is_of_deployment(url: URLPattern | URLResolver, contexts: Iterable[str]) -> bool:
    if isinstance(url, URLResolver):
        return str(url.pattern).partition("/")[0] not in contexts
    return url.name in OF_DEPLOYMENT


def _is_navigation(request: HttpRequest) -> bool:
    """Return whether a browser opens a page, so that it can follow redirects without losing
    anything."""
    return request.method == "GET" and wants_html(request) and "HX-Request" not in request.headers


def _next(request: HttpRequest) -> str:
    """Return the page to which the sign-in leads: `next`, if it is at this host."""
    given = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
    allowed = url_has_allowed_host_and_scheme(
        given, {request.get_host()}, require_https=request.is_secure()
    )
    return given if allowed else reverse("admin:index")
