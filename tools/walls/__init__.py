"""What crosses the apps of a Django project, and contexts that would leave less of it.

The project's code is parsed, never imported or run.
"""
