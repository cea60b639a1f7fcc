"""Template tags of the gateway's pages."""
