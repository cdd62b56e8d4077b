"""Writes a table of test results into a page of the docs, for `make matrix` and `make clients`."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

#: The names of a table's row and column, which identify one cell.
Place = tuple[str, ...]

END = ".. The table ends here.\n"


class Board:
    """A pytest plugin that collects the reports of each cell's tests; each table subclasses it."""

    #: The command that writes the page, and pytest's option with the path of the page.
    command: str
    option: str

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[Place, float] = {}
        self.failed: dict[Place, set[str]] = {}
        self.ran: set[Place] = set()
        self.places: dict[str, Place] = {}

    def place_of(self, item: pytest.Item) -> Place | None:
        """The cell of a test; None for a test outside the table."""
        raise NotImplementedError

    def page(self) -> Iterator[str]:
        """The lines of the table."""
        raise NotImplementedError

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        place = self.places.get(report.nodeid)
        if place is None:
            return
        self.seconds[place] = self.seconds.get(place, 0) + report.duration
        if report.when == "call" and not report.skipped:
            self.ran.add(place)
        if report.failed:
            self.failed.setdefault(place, set()).add(_name_of_test(report.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        place = self.place_of(item)
        if place is not None:
            self.places[item.nodeid] = place
        result = yield
        if place is not None and (nextitem is None or self.place_of(nextitem) != place):
            self.finish_cell(place)
        return result

    def finish_cell(self, place: Place) -> None:
        """Called when the next test belongs to another cell."""

    def verdict(self, place: Place) -> str:
        """The text of the cell: `ok`, the names of the failed tests, or `-` if no test ran."""
        failed = sorted(self.failed.get(place, ()))
        if place not in self.ran and not failed:
            return "-"
        return f"failed ({', '.join(failed)})" if failed else "ok"

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption(self.option)
        if path and self.seconds:
            self.write(Path(path))

    def write(self, path: Path) -> None:
        """Replace the text between the two marker lines of the page at `path`."""
        before, start, rest = path.read_text().partition(self.start)
        _, end, after = rest.partition(END)
        assert start, f"{path} lacks the line {self.start}"
        assert end, f"{path} lacks the line {END}"
        table = "\n".join(self.page())
        path.write_text(f"{before}{start}\n{table}\n\n{end}{after}")

    @property
    def start(self) -> str:
        """The marker line above the table."""
        return f".. The table is written by `{self.command}`: it starts here.\n"

    def say(self, text: str) -> None:
        """Write a line to the terminal."""
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        reporter.ensure_newline()
        reporter.write_line(text)


def head() -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1\n"


def row(*cells: str) -> Iterator[str]:
    for number, cell in enumerate(cells):
        # A hyphen alone would begin a list.
        text = r"\-" if cell == "-" else cell
        yield f"   {'* -' if number == 0 else '  -'} {text}"


def _name_of_test(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")
