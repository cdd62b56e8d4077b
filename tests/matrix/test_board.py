from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils.core import publish_doctree

from tests.boards import END
from tests.matrix.board import Board

PLACE = ("sqlite", "files", "solo")


def report(test: str, *, outcome: str = "passed", when: str = "call") -> Any:
    flags = {name: name == outcome for name in ("passed", "failed", "skipped")}
    nodeid = f"tests/x.py::test_{test}[sqlite+files-solo]"
    return SimpleNamespace(nodeid=nodeid, when=when, duration=2.0, **flags)


@pytest.fixture
def board() -> Board:
    board = Board(SimpleNamespace())  # type: ignore[arg-type]  # its options are read at the end
    for test in ("works", "breaks"):
        board.places[report(test).nodeid] = PLACE
    return board


def test_told__adds_up_reports_of_a_cell(board: Board) -> None:
    assert board.verdict(PLACE) == "-"
    board.pytest_runtest_logreport(report("works"))
    board.pytest_runtest_logreport(report("elsewhere"))
    assert board.verdict(PLACE) == "ok, 2 s"
    board.pytest_runtest_logreport(report("breaks", outcome="failed", when="setup"))
    assert board.verdict(PLACE) == "failed (breaks), 4 s"


def test_told__skipped_test_shows_nothing(board: Board) -> None:
    board.pytest_runtest_logreport(report("works", outcome="skipped", when="setup"))
    assert board.verdict(PLACE) == "-"


def test_write__replaces_the_table_between_the_markers(board: Board, tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(f"before\n\n{board.start}\nold\n\n{END}\nafter\n")
    board.pytest_runtest_logreport(report("works"))
    board.write(page)
    text = page.read_text()
    assert (text.startswith("before"), text.endswith("after\n"), "old" in text) == (
        True,
        True,
        False,
    )
    tree = publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    assert "ok, 2 s" in str(tree)
    board.write(page)
    assert page.read_text() == text
