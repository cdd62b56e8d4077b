"""The table client x outcome."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree

from tests.clients.board import OUTCOMES, Board

PAGE = Path(__file__).parents[2] / "docs/clients.rst"


@pytest.fixture
def board() -> Board:
    # The board reads the options at the end of a run only, so an empty configuration is enough.
    board = Board(SimpleNamespace())  # type: ignore[arg-type]
    board.places = {"x": ("curl", "success"), "y": ("curl", "failure")}
    board.ran = {("curl", "success")}
    return board


def test_page__has_a_row_for_each_client(board: Board) -> None:
    text = "\n".join(board.page())
    publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    cells = re.findall(r"^   (?:\* -|  -) (.*)$", text, re.MULTILINE)
    assert cells == ["Client", *OUTCOMES.values(), "curl", "ok", *[r"\-"] * 4]


def test_write__finds_the_markers_in_the_page_of_the_docs(board: Board, tmp_path: Path) -> None:
    copy = tmp_path / "page.rst"
    copy.write_text(PAGE.read_text())
    board.write(copy)
    assert "     - ok" in copy.read_text()
