"""Answers of other contexts, kept until an event says that they have changed."""
