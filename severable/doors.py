"""Public names of packages, imported when they are first used (PEP 562).

Django imports a package before its models can be. What a package offers may need models, so its
`__init__` cannot import that itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def door(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that offers names.

    `homes` has, for each name, the module below the package that defines it; a name that is a
    module itself is its own home.
    """

    def public(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{homes[name]}")
        return module if homes[name] == name else getattr(module, name)

    return public
