"""The feed of events: the one contract of the package itself, which every context serves."""
