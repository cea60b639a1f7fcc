"""Crossings between the apps of a Django project, and contexts that would leave fewer of them.

The project's code is parsed, never imported or run.
"""
