"""The admin of sagas, with the steps that have run and those that have not run yet."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.views.debug import SafeExceptionReporterFilter
from unfold.utils import prettify_json

from severable.admin.columns import joined, label, rows, short
from severable.admin.jobs import JobAdmin
from severable.admin.site import timeline
from severable.saga import story
from severable.saga.models import Saga

STATUSES = {
    Saga.Status.RUNNING: "info",
    Saga.Status.COMPENSATING: "warning",
    Saga.Status.COMPLETED: "success",
    Saga.Status.COMPENSATED: "danger",
}


@admin.register(Saga)
class SagaAdmin(JobAdmin):
    icon = "route"
    list_display = ["name", "shown_key", "shown_status", "attempts", "due_at", "created_at"]
    list_display += ["error"]
    list_filter = ["status", "state", "created_at"]
    search_fields = ["key", "correlation_id"]
    change_form_before_template = "severable/story.html"
    fieldsets = [
        (None, {"fields": [("name", "key"), ("shown_status", "created_at"), "why", "links"]}),
        ("Work", {"fields": [("shown_state", "attempts"), "due_at", "error"]}),
        ("Data", {"fields": ["known"]}),
        ("Origin", {"fields": ["actor", ("correlation_id", "causation_id")]}),
    ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **kwargs: Any
    ) -> HttpResponse:
        context["story"] = timeline(story.of_saga(kwargs["obj"]))
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    @admin.display(description="about", ordering="key")
    def shown_key(self, saga: Saga) -> str:
        return short(saga.key)

    @admin.display(description="status", ordering="status")
    def shown_status(self, saga: Saga) -> str:
        return label(saga.status, STATUSES)

    @admin.display(description="reason of compensation")
    def why(self, saga: Saga) -> str:
        return "{code}: {detail}".format(**saga.failure) if saga.failure else "-"

    @admin.display(description="see also")
    def links(self, saga: Saga) -> str:
        return joined(
            rows("severable_saga.saga", "all sagas about this", key=saga.key),
            rows("severable_events.event", "events", correlation_id=saga.correlation_id),
        )

    @admin.display(description="data")
    def known(self, saga: Saga) -> str:
        # The data of a saga that has not ended contains secrets, such as the token of a card.
        shown = SafeExceptionReporterFilter().cleanse_setting("data", saga.data)
        return prettify_json(shown, None) or str(shown)
