"""Users in the admin: accounts, permissions, preferences, store credit and sessions."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from unfold import widgets
from unfold.decorators import action
from unfold.forms import (
    AdminOwnPasswordChangeForm,
    AdminPasswordChangeForm,
    BaseDialogForm,
    UserChangeForm,
    UserCreationForm,
)
from uuid_utils.compat import uuid7

from apps.users import confirmations, services, sessions
from apps.users.models import CreditEntry, Preferences, Session, User
from severable.admin import (
    ContextAdmin,
    Record,
    id_column,
    link,
    links_column,
    money_column,
    row_action,
    rows,
)

PROFILE = ["name", "email", "address"]
ACCESS = ["is_active", "is_staff", "is_superuser", "granted"]


class NewUserForm(UserCreationForm):
    """The form for a new account, which has a password and no permissions."""

    usable_password = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("password1", "password2"):
            self.fields[name].required = True


class UserForm(UserChangeForm):
    """The form for an account, with its permissions as checkboxes."""

    granted = forms.MultipleChoiceField(
        label="Permissions of the API",
        help_text="Included in the access tokens of the user",
        choices=[(name, name) for name in settings.TOPOLOGY.permissions],
        required=False,
        widget=widgets.UnfoldAdminCheckboxSelectMultipleWidget,
    )


class SetPassword:
    """A mixin of forms that saves the password only: the user's store credit may have changed."""

    field: str

    def save(self, commit: bool = True) -> User:
        form: Any = self
        form.user = services.set_password(
            user_id=form.user.pk, password=form.cleaned_data[self.field]
        )
        return form.user


class PasswordForm(SetPassword, AdminPasswordChangeForm):
    """The form for the password of another user."""

    field = "password1"


class OwnPasswordForm(SetPassword, AdminOwnPasswordChangeForm):
    """The form for one's own password."""

    field = "new_password1"


admin.site.password_change_form = OwnPasswordForm


class CreditForm(BaseDialogForm):
    """The form for store credit. Its key makes a second submission harmless."""

    amount = forms.DecimalField(
        max_digits=12,
        decimal_places=2,
        help_text="Negative to take",
        widget=widgets.UnfoldAdminDecimalFieldWidget,
    )
    reason = forms.CharField(
        max_length=200, initial="by staff", widget=widgets.UnfoldAdminTextInputWidget
    )
    key = forms.CharField(max_length=100, initial=uuid7, widget=forms.HiddenInput)


def _confirm(user: User) -> None:
    confirmations.confirm_by_staff(user_id=user.pk)


@admin.register(User)
class UserAdmin(ContextAdmin, DjangoUserAdmin):
    icon = "person"
    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    list_display = [
        *("username", "name", "email", "shown_confirmed", "shown_credit", "is_active", "is_staff")
    ]
    list_filter = ["is_active", "is_staff", "is_superuser"]
    search_fields = ["username", "name", "email"]
    ordering = ["id"]
    filter_horizontal = []
    autocomplete_fields = ["groups"]
    actions = ["confirm"]
    actions_detail = ["give_credit", "confirm_one"]
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        ("Profile", {"fields": [*PROFILE, "email_confirmed_at", "shown_credit", "links"]}),
        ("Permissions", {"fields": [*ACCESS, "groups"]}),
        ("Dates", {"fields": [("date_joined", "last_login")]}),
    ]
    add_fieldsets = [(None, {"fields": ["username", *PROFILE, "password1", "password2"]})]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the user may change an account: one with permissions only as a superuser.

        Anyone who can set the password or the e-mail address of an account can take it over.
        """
        allowed: bool = super().has_change_permission(request, obj)
        if obj is None or request.user.is_superuser or obj.pk == request.user.pk:
            return allowed
        return allowed and not (obj.is_superuser or obj.is_staff or obj.granted)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        if obj is None:
            return []
        powers = [] if request.user.is_superuser else [*ACCESS, "groups"]
        shown = ["email_confirmed_at", "shown_credit", "links", "date_joined", "last_login"]
        return ["username", *shown, *powers]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        data = form.cleaned_data
        profile = {name: data[name] for name in PROFILE}
        if not change:
            user = services.register(
                registration=uuid7(),
                username=data["username"],
                password=data["password1"],
                **profile,
            )
            obj.pk = user.pk
            return
        services.update_profile(user_id=obj.pk, **profile)
        if request.user.is_superuser:
            access = {name: data[name] for name in ACCESS}
            services.set_access(user_id=obj.pk, **access)

    @action(
        description="Give credit",
        icon="savings",
        permissions=["act"],
        dialog={
            "title": "Give store credit",
            "description": "",
            "form_class": CreditForm,
            "form_submit_text": "Give",
        },
    )
    def give_credit(self, request: HttpRequest, form: CreditForm, object_id: str) -> HttpResponse:
        def give(user: User) -> None:
            services.change_credit(
                key=given["key"],
                user_id=user.pk,
                amount=int(given["amount"] * 100),
                reason=given["reason"],
            )

        given = form.cleaned_data
        return self.carry_out_one(request, object_id, give, "credited")

    confirm, confirm_one = row_action(
        _confirm, "Confirm e-mail", "confirmed", icon="mark_email_read"
    )

    @admin.display(description="e-mail confirmed", boolean=True, ordering="email_confirmed_at")
    def shown_confirmed(self, user: User) -> bool:
        return user.email_confirmed

    shown_credit = money_column("credit", "store credit", currency="")
    links = links_column(
        lambda user: [
            rows("orders.order", "orders", user_id=user.pk),
            rows("payments.payment", "payments", user_id=user.pk),
            rows("notifications.notification", "mails", user_id=user.pk),
            rows("users.creditentry", "store credit", user=user.pk),
            rows("users.session", "sign-ins", user=user.pk),
            link("users.preferences", user.pk, "preferences"),
            rows("severable_events.event", "events", stream=user.stream),
        ]
    )


@admin.register(Preferences)
class PreferencesAdmin(ContextAdmin):
    icon = "tune"
    list_display = ["user", "order_mails", "account_mails"]
    list_filter = ["order_mails", "account_mails"]
    list_select_related = ["user"]
    search_fields = ["user__username", "user__email"]
    fields = ["user", "order_mails", "account_mails"]
    readonly_fields = ["user"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Preferences, form: Any, change: bool) -> None:
        services.set_preferences(
            user_id=obj.user_id, order_mails=obj.order_mails, account_mails=obj.account_mails
        )


@admin.register(CreditEntry)
class CreditEntryAdmin(Record):
    icon = "savings"
    list_display = ["id", "user", "shown_amount", "reason", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["user"]
    search_fields = ["user", "key"]
    ordering = ["-id"]
    fields = ["user", "shown_amount", "reason", "key", "created_at"]

    shown_amount = money_column("amount", currency="")


def _end(session: Session) -> None:
    sessions.end(session_id=session.id)


@admin.register(Session)
class SessionAdmin(Record):
    icon = "login"
    list_display = ["number", "user", "created_at", "expires_at", "ended_at"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["user"]
    search_fields = ["id", "user"]
    ordering = ["-id"]
    actions = ["end"]
    actions_detail = ["end_one"]
    fields = ["id", "user", "created_at", "expires_at", "ended_at"]

    end, end_one = row_action(_end, "Sign out", "signed out", icon="logout")

    number = id_column("id", "session")


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(ContextAdmin, DjangoGroupAdmin):
    """The admin of groups, which only superusers may change: they grant permissions."""

    icon = "group"
    filter_horizontal = []
    autocomplete_fields = []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)
