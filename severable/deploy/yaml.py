"""YAML as all rendered files have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

SHORT = 40  # characters of an item in a list that is written on one line
MERGE = "<<"  # the key by which a mapping includes an Anchor, or a list of them


class Anchor(dict[str, Any]):
    """A mapping that is written once; further uses refer to it by its name."""

    def __init__(self, name: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.name = name


class _Dumper(yaml.SafeDumper):
    """Without aliases, but for those of an Anchor; a list of short values is on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, Anchor)

    def generate_anchor(self, node: yaml.Node) -> str:
        return str(vars(node)["anchor"])


def _list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    flat = all(not isinstance(each, list | dict) and len(str(each)) <= SHORT for each in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat or None)


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    if text == MERGE:
        return dumper.represent_scalar("tag:yaml.org,2002:merge", text)
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _anchor(dumper: _Dumper, anchor: Anchor) -> yaml.Node:
    node = dumper.represent_dict(anchor)
    vars(node)["anchor"] = anchor.name
    return node


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
_Dumper.add_representer(Anchor, _anchor)


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
