"""Keys of the library's old API."""

from django.db import models


class Key(models.Model):
    """A key of a client."""

    text = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.text
