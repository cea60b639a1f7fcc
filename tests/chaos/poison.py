"""What is poison, for those who give it and those who take it."""

CRASH, RAISE = "crash", "raise"  # payments whose event kills its worker, or always fails
ATTEMPTS, CURED = "attempts", "cured"  # files: a line for each attempt; there once it is no poison
