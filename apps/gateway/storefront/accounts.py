"""Signing in and out, and registering."""

from __future__ import annotations

from contextlib import suppress

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from apps.gateway.storefront.client import ApiError
from apps.gateway.storefront.forms import ApiForm, RegistrationForm, SignInForm
from apps.gateway.storefront.pages import Page, own_path


class AccountPage(Page):
    """A page with a form that starts a session."""

    template: str
    form_class: type[ApiForm]

    def get(self, request: HttpRequest) -> HttpResponse:
        if self.session.signed_in:
            return redirect(self._next())
        return self._page(self.form_class())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = self.form_class(request.POST)
        if not form.is_valid():
            return self._page(form)
        try:
            self.start(form)
        except ApiError as error:
            form.add_problem(error)
            return self._page(form)
        return redirect(self._next())

    def start(self, form: ApiForm) -> None:
        """Start a session with valid data. Raises ApiError."""
        self.api.sign_in(form.cleaned_data["username"], form.cleaned_data["password"])

    def _page(self, form: ApiForm) -> HttpResponse:
        return self.render(self.template, {"form": form, "next": self._next()})

    def _next(self) -> str:
        given = self.request.POST.get("next") or self.request.GET.get("next", "/")
        return own_path(given)


class SignIn(AccountPage):
    """The form to sign in."""

    template, form_class = "sign_in.html", SignInForm


class Register(AccountPage):
    """The form to register."""

    template, form_class = "register.html", RegistrationForm

    def start(self, form: ApiForm) -> None:
        fields = ("username", "password", "name", "email", "address")
        body = {field: form.cleaned_data[field] for field in fields}
        self.api.post("/api/users", body, key=str(form.cleaned_data["key"]))
        super().start(form)


class SignOut(Page):
    """The button to sign out. The basket stays."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        with suppress(ApiError):  # the cookies are gone, and the tokens expire
            self.api.sign_out()
        return redirect("storefront:products")
