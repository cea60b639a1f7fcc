"""`manage.py test` takes labels as Django users type them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from django.core.management import CommandError

from tests import runner
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("label", "paths"),
    [
        ("apps.orders", ["tests/orders"]),
        ("apps/orders", ["tests/orders"]),
        ("tests.orders", ["tests/orders"]),
        ("tests/orders", ["tests/orders"]),
        ("tests.test_runner", ["tests/test_runner.py"]),
        ("tests.test_runner.test_one", ["tests/test_runner.py::test_one"]),
        ("tests.test_runner.Case.test_one", ["tests/test_runner.py::Case::test_one"]),
        ("tests/test_runner.py::test_one", ["tests/test_runner.py::test_one"]),
    ],
)
def test_labels_name_paths_contexts_modules_and_tests(label: str, paths: list[str]) -> None:
    assert runner.paths_of(label) == paths


def test_a_context_has_its_own_tests_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django users write them beside the models."""
    (tmp_path / "apps" / "reviews").mkdir(parents=True)
    (tmp_path / "apps" / "reviews" / "tests.py").touch()
    monkeypatch.chdir(tmp_path)
    assert runner.paths_of("apps.reviews") == ["apps/reviews/tests.py"]


def test_a_label_without_tests_is_refused() -> None:
    """It was handed on, and pytest's word for it was that a file is not found."""
    with pytest.raises(CommandError, match="there are no tests"):
        runner.paths_of("apps.review")


def test_it_says_what_is_missing_after_make_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make run` installs no pytest: there was a traceback."""
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(CommandError, match="`make test` installs it"):
        runner.PytestRunner().run_tests(["tests/test_runner.py"])
