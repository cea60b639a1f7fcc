"""What is poison, for those who give it and those who take it."""

from datetime import UTC, datetime

CRASH, RAISE = "crash", "raise"  # payments whose event kills its worker, or always fails
ATTEMPTS, CURED = "attempts", "cured"  # files: a line for each attempt; there once it is no poison
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)  # what tells an effect from other leases
