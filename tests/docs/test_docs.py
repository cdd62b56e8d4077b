"""The pages are valid, their links exist, and the reference names each check and setting."""

import ast
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes
from docutils.core import publish_doctree

import async_reply
from async_reply import conf
from async_reply.attempts.reports import Ending, Report
from async_reply.checks import pools
from async_reply.logs import logger
from async_reply.worker import beat
from docs._ext.layers import PICTURE, layers, svg
from tests.packaging.documents import HOW_TO, snippets

PACKAGE = Path(async_reply.__file__).parent
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.rst", ROOT / "CHANGELOG.rst"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__outside_of_the_site_is_valid_and_its_links_and_pictures_exist(page: Path) -> None:
    settings = {"halt_level": 2, "report_level": 2}
    tree = publish_doctree(page.read_text(), str(page), settings_overrides=settings)
    targets = [link["refuri"] for link in tree.findall(nodes.reference) if "refuri" in link]
    targets += [picture["uri"] for picture in tree.findall(nodes.image)]
    files = [target.partition("#")[0] for target in targets if ":" not in target]
    assert [file for file in files if not (page.parent / file).is_file()] == []


def test_reference__names_each_check() -> None:
    package = ROOT / "async_reply"
    modules = [*(package / "checks").glob("*.py"), *(package / "contrib").glob("*/checks.py")]
    source = "".join(path.read_text() for path in modules)
    used = set(re.findall(r"async_reply\.([EW]\d{3})", source))
    used = (used - {"W10"}) | {"W101", "W102", "W123", "W124", "W125"}
    for pool in ("solo", "gevent"):
        used |= {f"W{gap.number}" for gap in pools.shortcomings(pool, driver="sqlite3")}
    reference = (ROOT / "docs/reference.rst").read_text()
    documented = set(re.findall(r"^([EW]\d{3}) ", reference, re.MULTILINE))
    assert used == documented


def test_reference__includes_each_setting() -> None:
    """The page has them as text: code hosts do not insert files."""
    settings = {"file_insertion_enabled": False, "raw_enabled": False}
    text = (ROOT / "docs/reference.rst").read_text()
    tree = publish_doctree(text, settings_overrides=settings)
    code = "".join(block.astext() for block in tree.findall(nodes.literal_block))
    assert [key for key in conf.DEFAULTS if f'"{key}":' not in code] == []


def test_how_to__names_each_event_of_the_log() -> None:
    endings = [Report(ending, delay=delay) for ending in Ending for delay in (None, 1.0)]
    events = {"purged", *(report.event for report in endings)}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logger.event":
                words = [getattr(part, "value", None) for part in ast.walk(node.args[0])]
                events |= {word for word in words if isinstance(word, str)}
    page = publish_doctree((HOW_TO / "logs.rst").read_text())
    [table] = page.findall(nodes.table)
    rows = [row.findall(nodes.entry) for row in table.findall(nodes.row)]
    assert {next(cells).astext() for cells in rows} - {"Event"} == events


def test_how_to__formatter_for_json_writes_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {}
    exec(dict(snippets(HOW_TO / "logs.rst"))["project/json_lines.py"], names)
    caplog.set_level("INFO")
    logger.event("retried", {"id": 7, "kind": "a.b"}, attempt=1, delay=4.0, reason="OSError")
    line = json.loads(names["JSONFormatter"]().format(caplog.records[-1]))
    message = "Operation id=7 kind=a.b retried attempt=1 delay=4.0 reason=OSError"
    assert line.pop("message") == message
    assert line.items() >= {"level": "INFO", "event": "retried", "id": "7", "delay": 4.0}.items()


def test_how_to__schedule_fits_the_task_of_beat() -> None:
    settings: dict[str, Any] = {}
    exec(dict(snippets(HOW_TO / "run-on-a-schedule.rst"))["project/settings.py"], settings)
    monthly = settings["CELERY_BEAT_SCHEDULE"]["monthly"]
    assert monthly["task"] == beat.submit.name
    assert set(monthly["kwargs"]) == set(inspect.signature(beat.submit.run).parameters)
    when = monthly["schedule"]
    assert len(when.minute) == len(when.hour) == len(when.day_of_month) == 1


def test_architecture__picture_is_that_of_the_contract() -> None:
    """UPDATE_GOLDEN=1 draws it anew."""
    picture = svg()
    if os.environ.get("UPDATE_GOLDEN"):
        PICTURE.write_text(picture)
    assert PICTURE.read_text() == picture


def test_architecture__has_a_line_for_each_module_of_the_contract() -> None:
    tree = publish_doctree((ROOT / "docs/architecture.rst").read_text())
    table = next(iter(tree.findall(nodes.table)))
    rows = [next(iter(row.findall(nodes.entry))).astext() for row in table.findall(nodes.row)]
    assert rows == ["Module", *(name for names in layers() for name in names)]


def lines_of(path: Path) -> int:
    """The lines of a module that are neither blank nor a comment nor a docstring."""
    source = path.read_text()
    omitted = {0}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            omitted.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(map(str.strip, source.splitlines()), 1)
    return sum(
        number not in omitted and not line.startswith("#") and line != "" for number, line in lines
    )


def cells(page: str, name: str) -> list[str]:
    """The cells behind the first one in a row of a list table."""
    rows = publish_doctree((ROOT / page).read_text()).findall(nodes.row)
    texts = ([cell.astext() for cell in row.findall(nodes.entry)] for row in rows)
    return next(row[1:] for row in texts if row[0] == name)


def test_readme__has_the_figures_of_the_code_and_of_the_pages() -> None:
    rivals = ROOT / "benchmarks/rivals"
    accepted, faults, lost = (
        sum(map(int, cells("docs/faults.rst", name))) for name in ("accepted", "faults", "lost")
    )
    costs = cells("docs/polling.rst", "geometric mean, above")
    naive, ours = (
        f"{cells('docs/performance.rst', name)[0]} ms"
        for name in ("poll, naive", "poll, ours (status)")
    )
    rows: dict[str, list[object]] = {
        "lines of Python": [lines_of(rivals / "naive.py"), lines_of(rivals / "ours.py")],
        f"{accepted:,} jobs, {faults:,} faults": ["jobs are lost", "none lost"],
        "cost of polling, best is 1": [f"{costs[2]} with a poll each second", costs[1]],
        "processor time of a poll": [naive, ours],
    }
    assert lost == 0
    for name, expected in rows.items():
        assert cells("README.rst", name) == [str(cell) for cell in expected]
