"""The calling side: channels, and the policies that hold for every call."""
