"""Accounts, preferences, store credit and signed-in sessions."""

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from uuid_utils.compat import uuid7

# Also the characters that change the direction of a text: they make it look like another one.
_CONTROLS = r"\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
one_line = RegexValidator(
    rf"^[^\n\r{_CONTROLS}]*\Z", "This must be one line without control characters."
)
no_controls = RegexValidator(rf"^[^{_CONTROLS}]*\Z", "This must not contain control characters.")


class User(AbstractUser):
    """A user account. Other contexts refer to it by its id."""

    id = models.AutoField(primary_key=True)
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    name = models.CharField(max_length=200, validators=[one_line])
    email = models.EmailField()
    email_confirmed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When its owner confirmed the address"
    )
    address = models.TextField(max_length=500, blank=True, validators=[no_controls])
    credit = models.BigIntegerField(default=0, help_text="Store credit, in minor units")
    granted = models.JSONField(
        "permissions", default=list, blank=True, help_text="What their tokens allow"
    )
    registration = models.UUIDField(null=True, blank=True, unique=True, editable=False)

    REQUIRED_FIELDS = ["email", "name"]

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(Lower("username"), name="users_user_username"),
            models.UniqueConstraint(Lower("email"), name="users_user_email"),
            models.CheckConstraint(condition=Q(credit__gte=0), name="users_user_credit"),
        ]

    @property
    def stream(self) -> str:
        return f"user-{self.id}"

    @property
    def email_confirmed(self) -> bool:
        return self.email_confirmed_at is not None

    @property
    def permissions(self) -> list[str]:
        """Return the permissions of the user's tokens, such as "orders:ship". A superuser has
        all."""
        return list(settings.TOPOLOGY.permissions) if self.is_superuser else self.granted

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name


class Preferences(models.Model):
    """The mails that a user has chosen to get."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True)
    order_mails = models.BooleanField(default=True)
    account_mails = models.BooleanField(default=True)

    class Meta:
        verbose_name_plural = "preferences"

    def __str__(self) -> str:
        return f"preferences of {self.user_id}"


class CreditEntry(models.Model):
    """One change of a user's store credit. The key makes a second time harmless."""

    key = models.CharField(max_length=100, unique=True)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="credit_entries")
    amount = models.BigIntegerField(help_text="Signed, in minor units")
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "credit entries"

    def __str__(self) -> str:
        return f"{self.amount} {self.reason}"


class Session(models.Model):
    """A sign-in and the refresh tokens that follow from it, of which only the last is valid."""

    id = models.UUIDField(primary_key=True, default=uuid7)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    token_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return str(self.id)
