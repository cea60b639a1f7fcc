"""Tools that never run in production: the development supervisor, documents made of the code."""
