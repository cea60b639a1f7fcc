"""What never runs in production: the development supervisor, documents made of the code."""
