"""The client side: channels, and the policies that apply to every call."""
