"""The parts of every page: the session, the basket, and the API's errors as pages."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View

from apps.gateway.storefront.basket import Basket
from apps.gateway.storefront.client import (
    Api,
    ApiError,
    NotFound,
    SignInRequired,
    TooManyRequests,
    Unavailable,
)
from apps.gateway.storefront.session import Session


class Page(View):
    """A page of the storefront. Errors of the API that it does not handle become pages."""

    session: Session
    basket: Basket
    api: Api

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.session, self.basket = Session(request), Basket(request)
        self.api = Api(request, self.session)
        try:
            response = cast(HttpResponse, super().dispatch(request, *args, **kwargs))
        except ApiError as error:
            response = self._failed(error)
        self.session.save(response)
        self.basket.save(response)
        add_never_cache_headers(response)
        return response

    def render(self, name: str, shown: dict[str, Any], status: int = 200) -> HttpResponse:
        """Return a page made of a template below storefront/."""
        shown = {"session": self.session, "basket": self.basket, **shown}
        return render(self.request, f"storefront/{name}", shown, status=status)

    def _failed(self, error: ApiError) -> HttpResponse:
        if isinstance(error, SignInRequired):
            return self._to_sign_in()
        if isinstance(error, NotFound):
            return self.render("not_found.html", {}, 404)
        if isinstance(error, TooManyRequests | Unavailable):
            response = self.render("unavailable.html", {"error": error}, error.status)
            response["Retry-After"] = error.retry_after or "2"
            return response
        return self.render("problem.html", {"error": error}, error.status)

    def _to_sign_in(self) -> HttpResponse:
        self.session.end()
        back = self.request.get_full_path() if self.request.method == "GET" else self.back()
        return redirect(f"{reverse('storefront:sign-in')}?{urlencode({'next': back})}")

    def back(self) -> str:
        """Return the page to see after the sign-in that a POST needs."""
        return reverse("storefront:basket")


def own_path(given: str) -> str:
    """Return a path if it is a page of the storefront, or else the path of its front page."""
    front = reverse("storefront:products")
    if not given.startswith("/") or not url_has_allowed_host_and_scheme(given, None):
        return front
    try:
        match = resolve(given.partition("?")[0])
    except Resolver404:
        return front
    return given if match.app_name == "storefront" else front
