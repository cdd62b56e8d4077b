"""What a run has shown of each cell of a table in the docs, and the table itself."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

Place = tuple[str, ...]

END = ".. The table ends here.\n"


class Board:
    """A pytest plugin that adds up the reports of each cell's tests; subclass it for a table."""

    #: The command that writes the page, and its option, which names the page.
    command: str
    option: str

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: dict[Place, float] = {}
        self.failed: dict[Place, set[str]] = {}
        self.ran: set[Place] = set()
        self.places: dict[str, Place] = {}

    def place_of(self, item: pytest.Item) -> Place | None:
        """The cell that a test belongs to; None outside the table."""
        raise NotImplementedError

    def page(self) -> Iterator[str]:
        """The lines between the markers."""
        raise NotImplementedError

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
        place = self.place_of(item)
        if place is not None:
            self.places[item.nodeid] = place
        result = yield
        if place is not None and (nextitem is None or self.place_of(nextitem) != place):
            self.left(place)
        return result

    def left(self, place: Place) -> None:
        """Called when the next test is another cell's."""

    def told(self, place: Place) -> str:
        """`ok` or what failed; `-` where nothing ran."""
        failed = sorted(self.failed.get(place, ()))
        if place not in self.ran and not failed:
            return "-"
        return f"failed ({', '.join(failed)})" if failed else "ok"

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption(self.option)
        if path and self.seconds:
            self.write(Path(path))

    def write(self, path: Path) -> None:
        """Replace what stands between the markers of the page at `path`."""
        before, start, rest = path.read_text().partition(self.start)
        _, end, after = rest.partition(END)
        assert start, f"{path} lacks the markers"
        assert end, f"{path} lacks the markers"
        table = "\n".join(self.page())
        path.write_text(f"{before}{start}\n{table}\n\n{end}{after}")

    @property
    def start(self) -> str:
        return f".. The table is written by `{self.command}`: it starts here.\n"

    def say(self, text: str) -> None:
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


def _test(nodeid: str) -> str:
    return nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")
