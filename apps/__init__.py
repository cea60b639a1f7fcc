"""The business: one folder per context. None imports another."""
