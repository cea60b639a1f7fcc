"""Parts that can be removed: nothing else in the package imports them."""
