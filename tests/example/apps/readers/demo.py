"""The account that the demo starts with."""

from collections.abc import Callable, Iterator

from apps.readers.models import Reader


def steps() -> Iterator[Callable[[], None]]:
    yield _ada


def _ada() -> None:
    if not Reader.objects.filter(username="ada").exists():
        Reader.objects.create_user("ada", password="demo", first_name="Ada", last_name="Lovelace")
