"""The commands and settings in docs/production.md exist, and the documents explain their terms."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class

from severable.config import commands
from tests.processes import ROOT

TEXT = (ROOT / "docs/production.md").read_text()
BLOCKS = [
    (name, [line.partition("  #")[0] for line in block.replace("\\\n", "").splitlines()])
    for name, block in re.findall(r"```sh *(\w*)\n(.*?)```", TEXT, re.S)
]
LINES = [line for _, lines in BLOCKS for line in lines]
PROCESSES = [shlex.split(line) for name, lines in BLOCKS if name == "processes" for line in lines]
MANAGE = [line for line in LINES if line.startswith("python manage.py")]


@pytest.mark.parametrize("line", [line for line in MANAGE if " jwks" not in line])
def test_a_documented_command_is_understood(line: str) -> None:
    """An option that was renamed."""
    _, program, name, *arguments = shlex.split(line)
    command = load_command_class(get_commands()[name], name)
    parser: ArgumentParser = command.create_parser(program, name)
    parser.parse_args(arguments)


def test_documented_settings_are_described() -> None:
    """A setting that is gone, or that .env.example forgot."""
    described = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"`([A-Z]{3,}(?:_[A-Z]+)+)[`=]", TEXT))
    assert "JWT_PUBLIC_KEYS" in named
    assert {name for name in named if not re.search(rf"^#?{name}=", described, re.M)} == set()


def test_documented_metrics_are_shown() -> None:
    shown = (ROOT / "severable/events/metrics.py").read_text()
    for name in re.findall(r"`(shop_\w+?)(?:_seconds|_total)?`", TEXT):
        start, _, figure = name.rpartition("_")
        assert name in shown or (f'"{figure}"' in shown and f"{start}_" in shown), name


def test_processes_are_run_as_the_supervisor_runs_them() -> None:
    """An option that was added to one of them."""
    deployment = settings.TOPOLOGY.deployment("one", None)
    documented = [command[command[0] == "python" :] for command in PROCESSES]
    assert documented[0] == commands.web("0.0.0.0:8000")
    assert sorted(documented[1]) == sorted(commands.worker(deployment)[3:])
    assert documented[2] == commands.relay()


TERMS = ("sagas?", "relays?", "reconciler", "parked", "streams?", "bulkheads?")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_PROSE = re.compile(
    r"^```.*?^```|^#.*?$|`[^`\n]*`|\]\((?!\S*glossary)[^)]*\)|https?://\S+", re.M | re.S
)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_term_is_linked_to_the_glossary_on_its_first_use(document: Path, term: str) -> None:
    """A reader who does not find out what a word means."""
    if document.name == "glossary.md":
        return
    first = re.search(rf"(\[?)\b{term}\b(.{{0,30}})", NOT_PROSE.sub("", document.read_text()), re.I)
    assert first is None or (first[1] and "glossary.md)" in first[2]), first[0]
