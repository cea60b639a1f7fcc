"""The page that the link in a confirmation mail opens."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from apps.users import confirmations
from severable.api import limits


# The token proves the user's intent, and no cookie is used: another site cannot forge a request.
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class ConfirmEmail(View):
    """A button, so that programs that open the links of mails confirm nothing."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return _page(request, "ask", token=request.GET.get("token", ""))

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            limits.count_try(request)
            user = confirmations.confirm(token=request.POST.get("token", ""))
        except limits.TooManyAttempts as error:
            response = _page(request, "wait", 429)
            response["Retry-After"] = str(error.wait)
            return response
        except confirmations.InvalidToken as error:
            return _page(request, "invalid", error.http, detail=error.detail)
        return _page(request, "done", email=user.email)


def _page(request: HttpRequest, state: str, status: int = 200, **shown: str) -> HttpResponse:
    context = {"state": state, **shown}
    return render(request, "users/confirm_email.html", context, status=status)
