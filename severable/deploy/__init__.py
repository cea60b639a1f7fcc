"""Files for what runs the shop, made of topology.toml: `manage.py topology render`."""

from severable.deploy.files import RENDERERS, differing, render, write

__all__ = ["RENDERERS", "differing", "render", "write"]
