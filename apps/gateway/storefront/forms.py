"""The forms of the storefront. The API validates; a form shows messages beside its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.core import signing

from apps.gateway.storefront.basket import MAX_QUANTITY, MAX_SKU
from apps.gateway.storefront.client import ApiError, TooManyRequests, Unavailable

SALT, MAX_AGE = "storefront.checkout", 86_400

TEST_CARDS = [
    ("tok_visa", "Visa: is accepted"),
    ("tok_declined", "Visa: is declined"),
    ("tok_slow", "Visa: takes three seconds"),
    ("tok_unknown", "Visa: the first answer is lost"),
]


class ApiForm(forms.Form):
    """A form whose errors are the API's."""

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, label_suffix="")

    def add_problem(self, error: ApiError, fields: Mapping[str, str] | None = None) -> None:
        """Show an error of the API beside its fields, or above the form if it has none here.

        `fields` maps the API's names to those of this form.
        """
        if isinstance(error, Unavailable):
            text = "The shop did not answer. Nothing is lost: please try again in a moment."
            self.add_error(None, text)
            return
        if isinstance(error, TooManyRequests):
            seconds = f"{error.retry_after} seconds" if error.retry_after else "a moment"
            self.add_error(None, f"There were too many attempts. Please try again in {seconds}.")
            return
        known = {(fields or {}).get(name, name): text for name, text in error.fields()}
        for name, text in known.items():
            shown = name if name in self.fields else None
            self.add_error(shown, text if shown or not name else f"{name}: {text}")
        if not known:
            self.add_error(None, error.detail or "The shop did not accept this.")


class QuantityForm(forms.Form):
    """A product and its quantity in the basket."""

    sku = forms.CharField(max_length=MAX_SKU)
    quantity = forms.IntegerField(min_value=0, max_value=MAX_QUANTITY)


class SignInForm(ApiForm):
    """The form to sign in."""

    username = forms.CharField(
        max_length=150,
        label="User name",
        widget=forms.TextInput({"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        max_length=200,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )


class RegistrationForm(SignInForm):
    """The form to register. Its key makes a form that is sent twice register once."""

    field_order = ["name", "email", "address", "username", "password"]
    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)
    name = forms.CharField(max_length=200, widget=forms.TextInput({"autocomplete": "name"}))
    email = forms.EmailField(
        max_length=254, label="E-mail", widget=forms.EmailInput({"autocomplete": "email"})
    )
    address = forms.CharField(
        max_length=500,
        required=False,
        widget=forms.Textarea({"rows": 3, "autocomplete": "street-address"}),
    )
    password = forms.CharField(
        max_length=200,
        strip=False,
        help_text="At least eight characters, and nothing that is easy to guess.",
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )


@dataclass(frozen=True)
class Attempt:
    """An order that a customer has seen and may place: its Idempotency-Key and its lines."""

    key: str
    lines: dict[str, int]

    @classmethod
    def new(cls, lines: dict[str, int]) -> Attempt:
        """Return an attempt with a key of its own."""
        return cls(str(uuid4()), lines)

    @classmethod
    def read(cls, signed: str) -> Attempt | None:
        """Return the attempt that a page was rendered with, or None if it is not one."""
        try:
            return cls(*signing.loads(signed, salt=SALT, max_age=MAX_AGE))
        except signing.BadSignature:
            return None

    def __str__(self) -> str:
        return signing.dumps((self.key, self.lines), salt=SALT, compress=True)

    def items(self) -> list[dict[str, str | int]]:
        """Return the items as the API takes them."""
        return [{"sku": sku, "quantity": quantity} for sku, quantity in self.lines.items()]


class CheckoutForm(ApiForm):
    """The payment of an order."""

    method = forms.ChoiceField(
        label="How do you want to pay?",
        choices=[("card", "Card"), ("credit", "Store credit")],
        initial="card",
        widget=forms.RadioSelect,
    )
    token = forms.CharField(max_length=200, required=False, label="Card")

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        token = self.fields["token"]
        if settings.DEVELOPMENT:
            token.widget = forms.Select(choices=TEST_CARDS)
            token.help_text = "These are test cards: no money moves."
        else:
            token.help_text = "The token of your payment provider"

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("method") == "card" and not given.get("token"):
            self.add_error("token", "Choose a card.")
        return given

    def payment(self) -> dict[str, str]:
        """Return the payment as the API takes it."""
        method = self.cleaned_data["method"]
        card = {"token": self.cleaned_data["token"]} if method == "card" else {}
        return {"method": method, **card}

    def add_problem(self, error: ApiError, fields: Mapping[str, str] | None = None) -> None:
        if error.code == "payment_declined":
            card = self.cleaned_data["method"] == "card"
            self.add_error("token" if card else "method", f"{error.detail} Pay in another way.")
            return
        names = {"payment.token": "token", "payment.method": "method"}
        super().add_problem(error, names)
