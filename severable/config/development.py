"""Secrets of a development environment, which are generated once and stored in var/keys/."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key


def stored(file: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file that only its owner can read. Create the file if it is missing.

    Processes that start at the same time use the same secret: the first link wins.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write(make())
        with suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    return file.read_text()


def random_secret() -> str:
    """Return a random key for Django's signatures."""
    return get_random_secret_key()
