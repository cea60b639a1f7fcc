"""Loans of books."""

from django.db import models


class Loan(models.Model):
    """A book that a reader has borrowed. `reader_name` is as it was then."""

    title = models.CharField(max_length=100)
    reader_id = models.IntegerField()
    reader_name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title
