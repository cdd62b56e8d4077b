"""The pages are valid, their links exist, and the reference names each check and setting."""

import inspect
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from async_reply import conf
from async_reply.checks import pools
from async_reply.worker import beat
from tests.packaging.documents import HOW_TO, snippets

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.rst")), ROOT / "README.rst", ROOT / "CHANGELOG.rst"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page__is_valid_and_its_links_exist(page: Path) -> None:
    settings = {"halt_level": 2, "report_level": 2}
    tree = publish_doctree(page.read_text(), str(page), settings_overrides=settings)
    targets = re.findall(r'refuri="([^":]+)"', str(tree))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_readme__has_absolute_links_only() -> None:
    """A package index shows it without the files beside it."""
    tree = str(publish_doctree((ROOT / "README.rst").read_text()))
    assert re.findall(r'refuri="(?!https?:)[^"]*"', tree) == []


def test_reference__names_each_check() -> None:
    source = "".join(path.read_text() for path in (ROOT / "async_reply/checks").glob("*.py"))
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


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        # The two shapes in which django.server and uvicorn.access log a request, and a plain text.
        ('"%s" %s %s', ("GET /operations/0192/?sig=read.1.abc&x=1 HTTP/1.1", "200", "7")),
        (
            '%s - "%s %s HTTP/%s" %d',
            ("127.0.0.1:1", "GET", "/operations/0192/?a=1&sig=read.1.abc", "1.1", 200),
        ),
        ("GET /operations/0192/?sig=read.1.abc", ()),
    ],
)
def test_how_to__masks_valet_keys_in_logs(message: str, arguments: tuple[Any, ...]) -> None:
    names: dict[str, Any] = {}
    exec(dict(snippets(HOW_TO / "keys-in-logs.rst"))["project/logs.py"], names)
    record = logging.LogRecord("x", logging.INFO, "x", 1, message, arguments, None)
    assert names["WithoutKeys"]().filter(record)
    text = record.getMessage()
    assert ("abc" in text, "sig=…" in text, "/operations/0192/" in text) == (False, True, True)


def test_how_to__schedule_fits_the_task_of_beat() -> None:
    settings: dict[str, Any] = {}
    exec(dict(snippets(HOW_TO / "run-on-a-schedule.rst"))["project/settings.py"], settings)
    monthly = settings["CELERY_BEAT_SCHEDULE"]["monthly"]
    assert monthly["task"] == beat.submit.name
    assert set(monthly["kwargs"]) == set(inspect.signature(beat.submit.run).parameters)
    when = monthly["schedule"]
    assert len(when.minute) == len(when.hour) == len(when.day_of_month) == 1
