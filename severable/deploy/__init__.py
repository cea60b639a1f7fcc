"""Files for Docker, Kubernetes, Istio and nginx, rendered from topology.toml."""

from severable.deploy.files import RENDERERS, differing, render, write

__all__ = ["RENDERERS", "differing", "render", "write"]
