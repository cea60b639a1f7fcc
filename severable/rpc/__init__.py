"""Calls between contexts: one generated stub over a local, a REST or a gRPC channel."""
