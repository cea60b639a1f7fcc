"""The Django project that uses this package: its name and where it is."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

CONTEXTS = os.environ.get("SEVERABLE_CONTEXTS", "apps")  # the package with one app per context
CONTRACTS = os.environ.get("SEVERABLE_CONTRACTS", "protos")  # that with the code of contracts


def name() -> str:
    """Return the project's package, such as "shop": the first part of DJANGO_SETTINGS_MODULE."""
    return os.environ["DJANGO_SETTINGS_MODULE"].partition(".")[0]


def root() -> Path:
    """Return the folder with manage.py, topology.toml and the project's package."""
    spec = find_spec(name())
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"DJANGO_SETTINGS_MODULE: there is no package {name()!r}")
    return Path(spec.submodule_search_locations[0]).resolve().parent
