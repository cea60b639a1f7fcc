"""Users: who they are, how they sign in, and their store credit."""
