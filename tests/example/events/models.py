"""Readings and other evenings in the library."""

from django.db import models


class Event(models.Model):
    """An evening. Its app and table have the names that the package must leave alone."""

    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title
