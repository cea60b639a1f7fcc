"""See what happens: request ids, traces, health."""
