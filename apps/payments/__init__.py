"""Payments: the money taken for orders and given back, and the ledger of it."""
