"""The fixtures of tests/ for the tests that contexts have in a tests.py of their own."""

from tests.conftest import *  # noqa: F403
