"""YAML as all rendered files have it."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Without anchors, which few readers expect."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(*documents: Any, compact: bool = False) -> str:
    """Return YAML documents, keys in the order given, the same for the same input.

    In compact ones, lists and mappings that hold only scalars are on one line.
    """
    style = None if compact else False
    return yaml.dump_all(
        documents,
        Dumper=_Dumper,
        default_flow_style=style,
        sort_keys=False,
        width=100,
        allow_unicode=True,
    )
