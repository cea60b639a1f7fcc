"""The sign-in forms of the admin and the browsable API, with the limits of the API's sign-in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm as UnfoldAuthenticationForm

from severable.api.limits import TooManyAttempts, signing_in


class SignInForm(AuthenticationForm):
    """The form of the browsable API."""

    def clean(self) -> dict[str, Any]:
        if not self.cleaned_data.get("username") or not self.cleaned_data.get("password"):
            return super().clean()  # no password is checked, so it must not count as a success
        assert self.request  # both pages pass it
        try:
            with signing_in(self.request, self.cleaned_data["username"]):
                return super().clean()
        except TooManyAttempts as error:
            raise ValidationError(str(error.detail), code=error.default_code) from None


class AdminSignInForm(SignInForm, UnfoldAuthenticationForm):
    """The form of the admin."""
