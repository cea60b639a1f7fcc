"""The public face of a context: errors, JWT, idempotency keys, pagination, limits."""
