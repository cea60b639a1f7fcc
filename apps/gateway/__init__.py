"""The gateway: answers that are composed of several contexts' parts. It has no tables."""
