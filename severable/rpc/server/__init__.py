"""The server side: servicers, and the check of their callers."""
