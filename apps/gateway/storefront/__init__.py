"""The storefront: server-rendered pages for customers, through the public HTTP API only."""
