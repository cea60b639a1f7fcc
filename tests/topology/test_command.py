"""`manage.py topology`: shows, checks, renders and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from severable.deploy import RENDERERS, differing, render, write
from severable.jobs import tasks
from tests.processes import ROOT


def lines(capsys: Any, *command: str) -> list[str]:
    call_command("topology", *command)
    shown: str = capsys.readouterr().out
    return shown.splitlines()


def test_the_picture_says_who_calls_whom_how_and_where(capsys: Any) -> None:
    shown = [" ".join(line.split()) for line in lines(capsys)]
    assert "orders -> payments 5 s, 2 retries, 32 at once" in shown
    assert "user.UserService/GetUser: 2 s, 2 retries" in shown
    assert "calls users at users, inventory at inventory, payments at payments" in shown


def test_the_difference_fits_on_a_screen_and_names_what_changes(capsys: Any) -> None:
    shown = lines(capsys, "diff", "one", "split")
    assert len(shown) <= 50 and max(map(len, shown)) <= 100
    told = [" ".join(line.split()) for line in shown]
    assert "payments: shop -> payments" in told
    assert "orders -> payments becomes remote: 5 s, 2 retries, 32 at once" in told
    assert "+ <name in DATABASE_URL>-payments" in told
    back = [" ".join(line.split()) for line in lines(capsys, "diff", "mixed", "one")]
    assert "orders -> payments becomes local" in back


def test_a_task_that_retries_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's retries would multiply with those of the rows that tasks execute."""
    call_command("topology", "check")
    monkeypatch.setattr(tasks.run, "autoretry_for", (OSError,), raising=False)
    with pytest.raises(CommandError, match=r"task severable\.jobs\.run: it has autoretry_for"):
        call_command("topology", "check")


def test_a_placement_differs_in_nothing_from_itself(capsys: Any) -> None:
    assert all("no change" in line for line in lines(capsys, "diff", "split", "split")[1:])


@pytest.mark.parametrize("target", RENDERERS)
def test_what_is_committed_is_as_rendered(target: str) -> None:
    """A hand edit, or a change of topology.toml without its files, is not deployed as meant."""
    assert list(differing(ROOT, target, render(settings.TOPOLOGY, target))) == []


@pytest.mark.parametrize("target", RENDERERS)
def test_the_same_topology_renders_to_the_same_bytes(target: str) -> None:
    assert render(settings.TOPOLOGY, target) == render(settings.TOPOLOGY, target)


def test_a_hand_edit_a_missing_and_a_leftover_file_are_named(tmp_path: Path) -> None:
    files = render(settings.TOPOLOGY, "procfile")
    write(tmp_path, "procfile", files)
    assert list(differing(tmp_path, "procfile", files)) == []
    edited, gone, *_ = files
    (tmp_path / edited).write_text("edited")
    (tmp_path / gone).unlink()
    (tmp_path / "deploy/procfile/old").write_text("of a placement that is no more")
    wrong = set(differing(tmp_path, "procfile", files))
    assert wrong == {edited, gone, "deploy/procfile/old"}
    write(tmp_path, "procfile", files)
    assert list(differing(tmp_path, "procfile", files)) == []


def test_a_stale_file_fails_the_check_with_the_command_that_mends_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.BASE_DIR = tmp_path
    with pytest.raises(CommandError, match=r"not as topology.toml has it: .*run `manage\.py topo"):
        call_command("topology", "render", "procfile", "--check")
    call_command("topology", "render", "procfile")
    call_command("topology", "render", "procfile", "--check")
