"""What the environment says: settings, secrets, the database, TLS."""
