"""The table of results by database, broker and pool, which `make matrix` writes."""

import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import pytest

from tests import boards
from tests.boards import Place
from tests.matrix.cell import POOLS
from tests.stacks import services

PACKAGES = (
    "django", "djangorestframework", "celery", "kombu", "redis", "amqp", "psycopg", "pymysql",
    "gevent",
)  # fmt: skip


class Board(boards.Board):
    """Prints a line when a cell ends, and writes the table."""

    command = "make matrix"
    option = "--write-matrix"

    def place_of(self, item: pytest.Item) -> Place | None:
        return place_of(item)

    def finish_cell(self, place: Place) -> None:
        self.say(f"{' x '.join(place)}: {self.verdict(place)}")

    def verdict(self, place: Place) -> str:
        """The result of a cell, and its seconds."""
        verdict = super().verdict(place)
        return verdict if verdict == "-" else f"{verdict}, {self.seconds[place]:.0f} s"

    def page(self) -> Iterator[str]:
        yield from boards.head()
        yield from boards.row("Database", "Broker", *POOLS)
        for database in services.DATABASES:
            for broker in services.BROKERS:
                results = (self.verdict((database, broker, pool)) for pool in POOLS)
                yield from boards.row(database, broker, *results)
        versions = [f"Python {platform.python_version()}"]
        for package in PACKAGES:
            with suppress(PackageNotFoundError):
                versions.append(f"{package} {version(package)}")
        yield ""
        yield f"Servers: {', '.join(services.versions())}."
        yield ""
        yield f"Packages: {', '.join(versions)}."


def place_of(item: pytest.Item) -> Place | None:
    """Database, broker and pool of a test; None outside the matrix."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return (*params["site"], params["pool"]) if {"site", "pool"} <= params.keys() else None
