"""`manage.py walls` names what crosses the apps of a project that it has never run."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tools.walls import crossings, grouping, project
from tools.walls.crossings import Kind

LIBRARY = {
    "settings.py": 'AUTH_USER_MODEL = "people.Person"\n',
    "books/models.py": """
from django.conf import settings
from django.db import models
from loans.models import Loan

class Book(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    series = models.ForeignKey("self", null=True, on_delete=models.CASCADE)
    last_loan = models.OneToOneField(Loan, null=True, on_delete=models.SET_NULL, related_name="+")

def lent_by(name):
    return Book.objects.filter(loan__member__name=name).order_by("-owner__name", "series__owner")
""",
    "books/migrations/__init__.py": "",
    "books/migrations/0001_initial.py": """
class Migration:
    dependencies = [("people", "0001_initial"), ("books", "0000_none"), ("auth", "0001_initial")]
""",
    "loans/models.py": """
from django.db import models

class Loan(models.Model):
    book = models.ForeignKey("books.Book", on_delete=models.CASCADE)
    member = models.ForeignKey(to="people.Person", on_delete=models.CASCADE)
    computed = models.ForeignKey(choose(), on_delete=models.CASCADE)
""",
    "loans/receivers.py": """
from django.apps import apps
from django.db.models.signals import post_save
from django.dispatch import receiver

@receiver(post_save, sender="books.Book")
def watch(**kwargs):
    from people.models import Person
    return apps.get_model("people", "Person")
""",
    "people/models.py": """
from django.db import models

class Person(models.Model):
    name = models.TextField()
""",
    "people/apps.py": 'class PeopleConfig:\n    label = "people"\n',
    "tests/test_all.py": "from people.models import Person\n",
    "scripts.py": "from people.models import Person\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, code in LIBRARY.items():
        file = tmp_path / "library" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        if file.parent.name != "library":
            (file.parent / "__init__.py").touch()
    return tmp_path / "library"


def found(root: Path) -> set[tuple[str, str, Kind, str]]:
    return {
        (each.source, each.target, each.kind, each.what)
        for each in crossings.find(project.read(root))
    }


def printed(root: Path, *options: str) -> str:
    out = StringIO()
    call_command("walls", str(root), *options, stdout=out)
    return out.getvalue()


def test_every_kind_of_crossing_is_found_and_no_other(library: Path) -> None:
    assert found(library) == {
        ("books", "people", Kind.FOREIGN_KEY, "Book.owner → Person"),
        ("books", "loans", Kind.FOREIGN_KEY, "Book.last_loan → Loan"),
        ("books", "loans", Kind.IMPORT, "loans.models.Loan"),
        ("books", "loans", Kind.LOOKUP, "Book: loan__member__name"),
        ("books", "people", Kind.LOOKUP, "Book: loan__member__name"),
        ("books", "people", Kind.LOOKUP, "Book: -owner__name"),
        ("books", "people", Kind.LOOKUP, "Book: series__owner"),
        ("books", "people", Kind.MIGRATION, "people.0001_initial"),
        ("loans", "books", Kind.FOREIGN_KEY, "Loan.book → Book"),
        ("loans", "people", Kind.FOREIGN_KEY, "Loan.member → Person"),
        ("loans", "people", Kind.IMPORT, "people.models.Person"),
        ("loans", "people", Kind.IMPORT, "get_model people.Person"),
        ("loans", "books", Kind.SIGNAL, "Book"),
    }


def test_the_place_of_a_crossing_is_its_file_and_line(library: Path) -> None:
    places = {each.what: each.place for each in crossings.find(project.read(library))}

    assert places["Loan.book → Book"] == "loans/models.py:5"
    assert places["Book: -owner__name"] == "books/models.py:12"


def test_an_app_is_known_by_the_label_of_its_config(library: Path) -> None:
    (library / "people" / "apps.py").write_text(
        "from django.apps import AppConfig\n\nclass People(AppConfig):\n    label = 'members'\n"
    )

    assert set(project.read(library).apps) == {"books", "loans", "members"}


def test_relative_imports_cross_as_absolute_ones_do(library: Path) -> None:
    inside = library / "shop"
    for app in ("stock", "orders"):
        (inside / app).mkdir(parents=True)
        (inside / app / "__init__.py").touch()
        (inside / app / "models.py").write_text("from django.db import models\n")
    (inside / "__init__.py").touch()
    (inside / "orders" / "services.py").write_text("from ..stock import models\nfrom . import x\n")

    assert ("orders", "stock", Kind.IMPORT, "shop.stock.models") in found(library)
    assert ("orders", "orders", Kind.IMPORT, "shop.orders.x") not in found(library)


def test_the_report_names_places_and_what_replaces_each_kind(library: Path) -> None:
    text = printed(library, "--examples", "1", "--contexts", "3")

    assert text.startswith("3 apps, ")
    assert "books → people" in text and "books/models.py:7  Book.owner → Person" in text
    assert "foreign key: an id without a constraint" in text
    assert "Proposed contexts: 3" in text
    assert "2 of 12 files belong to no app" in text


def test_the_picture_has_an_arrow_for_each_pair_of_apps(library: Path) -> None:
    picture = printed(library, "--mermaid")

    assert picture.startswith("flowchart LR\n")
    assert "    loans -->|" in picture and "        books" in picture


def test_a_file_of_another_syntax_is_named_and_the_rest_is_read(library: Path) -> None:
    (library / "loans" / "old.py").write_text("print 'hello'\n")

    assert "Not parsed: loans/old.py" in printed(library)


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("nowhere", [], "nowhere is not a folder"),
        ("library/scripts.py", [], "is not a folder"),
        ("library/tests", [], "has no Django app"),
        ("library", ["--contexts", "-1"], "--contexts must not be negative"),
    ],
)
def test_wrong_input_is_named(library: Path, path: str, options: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        printed(library.parent / path, *options)


def test_apps_with_many_crossings_become_one_context() -> None:
    def crossing(source: str, target: str) -> list[crossings.Crossing]:
        return [
            crossings.Crossing(source, target, Kind.FOREIGN_KEY, f"f.py:{line}", "")
            for line in range(5)
        ]

    found = [*crossing("a", "b"), *crossing("c", "d"), crossing("b", "c")[0]]

    assert grouping.propose("abcde", found) == [("a", "b"), ("c", "d"), ("e",)]
    assert grouping.propose("abcde", found, 1) == [("a", "b", "c", "d", "e")]
