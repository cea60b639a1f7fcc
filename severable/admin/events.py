"""The admin of events and of their deliveries to handlers."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import admin
from unfold import widgets
from unfold.forms import ActionForm, BaseDialogForm

from severable.admin.columns import joined, label, rows
from severable.admin.filters import choice_filter
from severable.admin.jobs import JobAdmin
from severable.admin.site import Record, row_action
from severable.events import delivery, handlers
from severable.events.models import (
    Delivery,
    Event,
    MalformedMessage,
    RefusedEvent,
    RelayPosition,
    Subscription,
    TransactionOffset,
)

OF_SOURCE = choice_filter("source", lambda: settings.DEPLOYMENT.queues)
OF_CONTEXT = choice_filter(
    "context", lambda: (handler.context for handler in handlers.registered())
)
OF_HANDLER = choice_filter("handler", lambda: (each.name for each in handlers.registered()))
OF_TYPE = choice_filter("type", lambda: (each.type for each in handlers.registered()))


@admin.register(Event)
class EventAdmin(Record):
    icon = "history"
    list_display = ["type", "stream", "version", "actor", "recorded_at"]
    list_filter = [OF_SOURCE, OF_TYPE, "recorded_at"]
    search_fields = ["stream", "id", "correlation_id"]
    ordering = ["-position"]
    fieldsets = [
        (None, {"fields": [("type", "recorded_at"), ("stream", "version"), "actor", "links"]}),
        ("Data", {"fields": ["data"]}),
        (
            "Origin",
            {
                "fields": [
                    ("id", "source"),
                    ("position", "transaction_id"),
                    ("correlation_id", "causation_id"),
                    "traceparent",
                ]
            },
        ),
    ]

    @admin.display(description="see also")
    def links(self, event: Event) -> str:
        return joined(
            rows("severable_events.delivery", "deliveries", event_id=event.id),
            rows("severable_events.event", "the whole stream", stream=event.stream),
            rows(
                "severable_events.event",
                "events with the same correlation",
                correlation_id=event.correlation_id,
            ),
        )


class DiscardForm(BaseDialogForm):
    """The form for the reason to discard a delivery."""

    reason = forms.CharField(max_length=200, widget=widgets.UnfoldAdminTextInputWidget)


class DeliveryActions(ActionForm):
    """The form of list actions, which asks for the reason to discard deliveries."""

    reason = forms.CharField(
        label="",
        required=False,
        widget=widgets.UnfoldAdminTextInputWidget(
            attrs={"placeholder": "Reason", "x-show": "action === 'discard'"}
        ),
    )


@admin.register(Delivery)
class DeliveryAdmin(JobAdmin):
    icon = "local_post_office"
    list_display = ["type", "handler", "shown_state", "attempts", "stream", "received_at", "error"]
    list_filter = ["state", OF_CONTEXT, OF_HANDLER, OF_TYPE, "received_at"]
    search_fields = ["stream", "event_id"]
    action_form = DeliveryActions
    actions = ["retry", "replay", "discard"]
    actions_detail = ["retry_one", "replay_one", "discard_one"]
    fieldsets = [
        (None, {"fields": [("shown_state", "attempts"), ("handler", "due_at"), "error"]}),
        ("Event", {"fields": ["type", "stream", "links", ("received_at", "done_at"), "event"]}),
    ]

    discard, discard_one = row_action(
        delivery.discard, "Discard", "discarded", icon="delete", form=DiscardForm
    )
    replay, replay_one = row_action(delivery.replay, "Replay", "due again", icon="replay")

    @admin.display(description="state", ordering="state")
    def shown_state(self, row: Delivery) -> str:
        discarded = row.state == Delivery.State.DONE and row.done_at is None
        return label("discarded" if discarded else row.state)

    @admin.display(description="see also")
    def links(self, row: Delivery) -> str:
        return joined(
            rows("severable_events.event", "the event", id=row.event_id),
            rows("severable_events.delivery", "its other deliveries", event_id=row.event_id),
            rows("severable_events.delivery", "the whole stream", stream=row.stream),
        )


@admin.register(Subscription)
class SubscriptionAdmin(Record):
    icon = "rss_feed"
    list_display = ["handler", "position", "transaction_id", "missed", "updated_at"]
    search_fields = ["handler"]
    ordering = ["handler"]


@admin.register(MalformedMessage)
class MalformedMessageAdmin(Record):
    icon = "mark_email_unread"
    list_display = ["queue", "error", "received_at"]
    list_filter = ["received_at"]
    search_fields = ["error", "body"]
    ordering = ["-pk"]


@admin.register(RefusedEvent)
class RefusedEventAdmin(Record):
    icon = "block"
    list_display = ["type", "stream", "links", "error", "refused_at"]
    search_fields = ["event_id", "stream", "error"]
    ordering = ["-pk"]
    actions = ["dismiss"]
    actions_detail = ["dismiss_one"]

    dismiss, dismiss_one = row_action(
        lambda row: row.delete(), "Dismiss", "dismissed", icon="check"
    )

    @admin.display(description="see also")
    def links(self, row: RefusedEvent) -> str:
        return joined(
            rows("severable_events.event", "the event", id=row.event_id),
            rows("severable_events.delivery", "its deliveries", event_id=row.event_id),
        )


@admin.register(RelayPosition)
class RelayPositionAdmin(Record):
    icon = "forward"
    list_display = ["name", "position", "transaction_id", "updated_at"]
    search_fields = ["name"]


@admin.register(TransactionOffset)
class TransactionOffsetAdmin(Record):
    icon = "tag"
    list_display = ["server", "value"]
    search_fields = ["server"]
