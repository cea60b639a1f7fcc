"""The gateway: it forwards requests to contexts and composes their answers. It has no tables."""
