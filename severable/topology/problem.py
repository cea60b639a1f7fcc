"""A fault of a topology, with its place in the file."""

from __future__ import annotations

import re
from typing import NamedTuple

Place = tuple[str, ...]  # keys from the outermost table on; () if it is not in the file


class Problem(NamedTuple):
    """One fault."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{dotted(self.place)}: {self.text}"


def dotted(place: Place) -> str:
    """Return a place as TOML writes it, such as 'methods."user.UserService/GetUser".timeout'."""
    return ".".join(key if re.fullmatch(r"[\w-]+", key) else f'"{key}"' for key in place)
