"""Inventory: products, their stock, and what is held for orders."""
