"""The accounts of readers."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Reader(AbstractUser):
    """The project's own user model."""

    loans = models.PositiveIntegerField(default=0)
