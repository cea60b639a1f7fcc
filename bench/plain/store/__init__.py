"""The one app of the plain monolith."""
