"""Tools for development: the supervisor, and documents generated from the code."""
