"""Orders: what customers order, and the state of each order."""
