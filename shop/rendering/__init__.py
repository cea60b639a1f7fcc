"""Files for what runs the shop, made of topology.toml: `manage.py topology render`."""

from shop.rendering.files import RENDERERS, differing, render, write

__all__ = ["RENDERERS", "differing", "render", "write"]
