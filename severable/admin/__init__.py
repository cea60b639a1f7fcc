"""The admin pages of the package's own rows, and what the pages of contexts are made of."""
