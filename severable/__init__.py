"""Bounded contexts of a Django project that run in one process or apart, by configuration."""
