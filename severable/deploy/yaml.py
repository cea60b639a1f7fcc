"""YAML as all rendered files have it."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Without anchors, which few readers expect."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(*documents: Any) -> str:
    """Return YAML documents, keys in the order given, the same for the same input."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
