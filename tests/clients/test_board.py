import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree

from tests.clients.board import OUTCOMES, Board

PAGE = Path(__file__).parents[2] / "docs/clients.rst"


@pytest.fixture
def board() -> Board:
    made = Board(SimpleNamespace())  # type: ignore[arg-type]  # it asks for options at the end only
    made.places = {"x": ("curl", "success"), "y": ("curl", "failure")}
    made.ran = {("curl", "success")}
    return made


def test_page__has_a_row_for_each_client(board: Board) -> None:
    text = "\n".join(board.page())
    publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    cells = re.findall(r"^   (?:\* -|  -) (.*)$", text, re.MULTILINE)
    assert cells == ["Client", *OUTCOMES.values(), "curl", "ok", *[r"\-"] * 4]


def test_page__of_the_docs_has_the_markers(board: Board, tmp_path: Path) -> None:
    copy = tmp_path / "page.rst"
    copy.write_text(PAGE.read_text())
    board.write(copy)
    assert "     - ok" in copy.read_text()
