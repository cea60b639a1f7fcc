"""The basket and the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from time import sleep
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from apps.gateway.storefront import catalog
from apps.gateway.storefront.basket import MAX_LINES, BasketFull
from apps.gateway.storefront.catalog import Line
from apps.gateway.storefront.client import (
    ApiError,
    SignInRequired,
    TooManyRequests,
    Unavailable,
    path_of,
)
from apps.gateway.storefront.forms import Attempt, CheckoutForm, QuantityForm
from apps.gateway.storefront.pages import Page

WAIT_SECONDS = 2  # for an order to be decided; after that its page shows the progress
IN_FLIGHT = 8  # attempts to get the answer to a form that was sent twice
IN_FLIGHT_SECONDS = 0.5  # between two of them

FULL = f"The basket is full: it has room for {MAX_LINES} products."
WRONG_QUANTITY = "Give a quantity from 1 to 1000."
EXPIRED = "This page has expired. Please check your order and send it again."
ALREADY_SENT = (
    "This order was sent before, with another payment. See your orders before you send it again."
)


class Basket(Page):
    """The basket, with a form for each line."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page()

    def post(self, request: HttpRequest) -> HttpResponse:
        form = QuantityForm(request.POST)
        if not form.is_valid():
            return self._page(problem=WRONG_QUANTITY, sku=request.POST.get("sku", ""))
        if form.cleaned_data["sku"] in self.basket.lines:
            self.basket.set(form.cleaned_data["sku"], form.cleaned_data["quantity"])
        return redirect("storefront:basket")

    def _page(self, problem: str = "", sku: str = "") -> HttpResponse:
        lines = catalog.lines(self.api, self.basket.lines)
        lines = [replace(line, problem=problem if line.sku == sku else "") for line in lines]
        amount, currency = catalog.total(lines)
        return self.render("basket.html", {"lines": lines, "total": amount, "currency": currency})


class Add(Page):
    """The form on a product's page."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        form = QuantityForm(request.POST)
        problem = "" if form.is_valid() and form.cleaned_data["quantity"] else WRONG_QUANTITY
        if not problem:
            try:
                self.basket.add(form.cleaned_data["sku"], form.cleaned_data["quantity"])
            except BasketFull:
                problem = FULL
        if not problem:
            return redirect("storefront:basket")
        sku = path_of("/api/inventory/products/{}", request.POST.get("sku", ""))
        return self.render("product.html", {"product": self.api.get(sku), "problem": problem})


class Checkout(Page):
    """The choice of the payment. Its form has the lines that the customer has seen."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.session.signed_in:
            raise SignInRequired(HTTPStatus.UNAUTHORIZED, {})
        if not self.basket.lines:
            return redirect("storefront:basket")
        return self._page(CheckoutForm(), Attempt.new(self.basket.lines))

    def post(self, request: HttpRequest) -> HttpResponse:
        form, attempt = CheckoutForm(request.POST), Attempt.read(request.POST.get("attempt", ""))
        if attempt is None:
            if not self.basket.lines:
                return redirect("storefront:basket")
            form.add_error(None, EXPIRED)
            return self._page(form, Attempt.new(self.basket.lines))
        if not form.is_valid():
            return self._page(form, attempt)
        try:
            order = self._place(attempt, form.payment())
        except SignInRequired:
            raise
        except ApiError as error:
            return self._refused(error, form, attempt)
        self.basket.remove(attempt.lines)
        return redirect("storefront:order", order["id"])

    def back(self) -> str:
        return reverse("storefront:checkout")

    def _place(self, attempt: Attempt, payment: dict[str, str]) -> dict[str, Any]:
        body = {"items": attempt.items(), "payment": payment}
        for _ in range(IN_FLIGHT):
            try:
                _, order = self.api.order(
                    "/api/orders", body, attempt.key, Prefer=f"wait={WAIT_SECONDS}"
                )
            except ApiError as error:
                if error.code != "in_flight":
                    raise
                sleep(IN_FLIGHT_SECONDS)  # the form was sent twice: the other request has it
            else:
                return dict(order)
        raise Unavailable(HTTPStatus.SERVICE_UNAVAILABLE, {"code": "in_flight"})

    def _refused(self, error: ApiError, form: CheckoutForm, attempt: Attempt) -> HttpResponse:
        """Return the page with the error. The key stays if the order may still be decided."""
        undecided = isinstance(error, Unavailable | TooManyRequests)
        again = attempt if undecided else Attempt.new(attempt.lines)
        problems = self._of_lines(error, attempt)
        if error.code == "key_reused":
            form.add_error(None, ALREADY_SENT)
        elif problems:
            form.add_error(None, "Some products are not available. Please change your basket.")
        else:
            form.add_problem(error)
        response = self._page(form, again, problems, error.status if undecided else 200)
        if undecided:
            response["Retry-After"] = error.retry_after or "2"
        return response

    def _of_lines(self, error: ApiError, attempt: Attempt) -> dict[str, str]:
        """Return the problem of each line that an error is about, by SKU."""
        if error.code == "insufficient_stock":
            try:
                return dict(self._short(attempt))
            except ApiError:
                return {str(error.problem.get("sku")): "There is not enough left."}
        if error.code == "unknown_product":
            return {str(error.problem.get("sku")): "This product is no longer sold."}
        return {}

    def _short(self, attempt: Attempt) -> Iterator[tuple[str, str]]:
        stock = self.api.post("/api/inventory/check", {"items": attempt.items()})
        for item in stock["items"]:
            if not item["enough"]:
                left = item["available"]
                yield item["sku"], f"Only {left} left." if left else "Sold out."

    def _page(
        self,
        form: CheckoutForm,
        attempt: Attempt,
        problems: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        customer, lines = self._customer(), self._lines(attempt, problems or {})
        amount, currency = catalog.total(lines)
        shown = {"form": form, "attempt": attempt, "lines": lines, "customer": customer}
        shown |= {"total": amount, "currency": currency}
        return self.render("checkout.html", shown, status)

    def _lines(self, attempt: Attempt, problems: dict[str, str]) -> list[Line]:
        try:
            found = catalog.lines(self.api, attempt.lines)
        except Unavailable:  # an order is accepted all the same
            found = [Line(sku, quantity, None) for sku, quantity in attempt.lines.items()]
        return [replace(line, problem=problems.get(line.sku, "")) for line in found]

    def _customer(self) -> dict[str, Any] | None:
        try:
            return dict(self.api.own("/api/users/me"))
        except Unavailable:
            return None
