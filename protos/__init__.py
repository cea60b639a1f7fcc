"""The contracts, and the code generated from them."""
