"""What a run has shown of each cell: a line as each ends, and the table in the docs."""

import platform
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.matrix.cell import POOLS
from tests.stacks import services

Place = tuple[str, str, str]

START = ".. The table is written by `make matrix`: it starts here.\n"
END = ".. The table ends here.\n"
PACKAGES = (
    "django", "djangorestframework", "celery", "kombu", "redis", "amqp", "psycopg", "pymysql",
    "gevent",
)  # fmt: skip


class Board:
    """A pytest plugin that adds up the reports of each cell's tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[Place, float] = {}
        self.failed: dict[Place, set[str]] = {}
        self.ran: set[Place] = set()
        self.places: dict[str, Place] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        place = self.places.get(report.nodeid)
        if place is None:
            return
        self.seconds[place] = self.seconds.get(place, 0) + report.duration
        if report.when == "call" and not report.skipped:
            self.ran.add(place)
        if report.failed:
            self.failed.setdefault(place, set()).add(_test(report.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        place = place_of(item)
        if place is not None:
            self.places[item.nodeid] = place
        result = yield
        if place is not None and (nextitem is None or place_of(nextitem) != place):
            self._say(f"{' x '.join(place)}: {self.told(place)}")
        return result

    def told(self, place: Place) -> str:
        """`ok` or what failed, and the seconds it took; `-` where nothing ran."""
        failed = sorted(self.failed.get(place, ()))
        if place not in self.ran and not failed:
            return "-"
        verdict = f"failed ({', '.join(failed)})" if failed else "ok"
        return f"{verdict}, {self.seconds[place]:.0f} s"

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption("--write-matrix")
        if path and self.seconds:
            write(Path(path), self)

    def _say(self, text: str) -> None:
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        reporter.ensure_newline()
        reporter.write_line(text)


def place_of(item: pytest.Item) -> Place | None:
    """Database, broker and pool of a test; None outside the matrix."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return (*params["site"], params["pool"]) if {"site", "pool"} <= params.keys() else None


def _test(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")


def write(path: Path, board: Board) -> None:
    """Replace what stands between the markers of the page at `path`."""
    before, _, rest = path.read_text().partition(START)
    _, found, after = rest.partition(END)
    assert found, f"{path} lacks the markers"
    table = "\n".join(page(board))
    path.write_text(f"{before}{START}\n{table}\n\n{END}{after}")


def page(board: Board) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1\n"
    yield from _row("Database", "Broker", *POOLS)
    for database in services.DATABASES:
        for broker in services.BROKERS:
            told = (board.told((database, broker, pool)) for pool in POOLS)
            yield from _row(database, broker, *told)
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {version(package)}" for package in PACKAGES]
    yield ""
    yield f"Servers: {', '.join(services.versions())}."
    yield ""
    yield f"Packages: {', '.join(versions)}."


def _row(*cells: str) -> Iterator[str]:
    for number, cell in enumerate(cells):
        yield f"   {'* -' if number == 0 else '  -'} {cell}"
