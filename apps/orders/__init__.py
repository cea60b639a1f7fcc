"""Orders: what customers want, and how far it has come."""
