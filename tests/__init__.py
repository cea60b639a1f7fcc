"""The tests: one folder a context, and one for each part of the machine."""
