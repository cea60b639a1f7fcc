"""Configuration from the environment: settings, secrets, the database, TLS."""
