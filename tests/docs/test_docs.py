"""The pages are well-formed and name what there is."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from docutils.core import publish_doctree

from async_reply import conf, pools, workers
from tests.packaging.documents import blocks

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.rst")), ROOT / "README.rst", ROOT / "CHANGELOG.rst"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page__is_valid_and_its_links_lead_somewhere(page: Path) -> None:
    settings = {"halt_level": 2, "report_level": 2}
    tree = publish_doctree(page.read_text(), str(page), settings_overrides=settings)
    targets = re.findall(r'refuri="([^":]+)"', str(tree))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_readme__has_no_link_that_is_dead_on_an_index() -> None:
    tree = str(publish_doctree((ROOT / "README.rst").read_text()))
    assert re.findall(r'refuri="(?!https?:)[^"]*"', tree) == []


def test_reference__names_each_check() -> None:
    source = "".join(path.read_text() for path in (ROOT / "async_reply/checks").glob("*.py"))
    used = set(re.findall(r"async_reply\.([EW]\d{3})", source))
    used = (used - {"W10"}) | {"W101", "W102"}
    for pool in ("solo", "gevent"):
        used |= {f"W{each.number}" for each in pools.shortcomings(pool, driver="sqlite3")}
    reference = (ROOT / "docs/reference.rst").read_text()
    told = set(re.findall(r"^([EW]\d{3}) ", reference, re.MULTILINE))
    assert used == told


def test_reference__includes_each_setting() -> None:
    tree = str(publish_doctree((ROOT / "docs/reference.rst").read_text(), str(ROOT / "docs/x")))
    assert [key for key in conf.DEFAULTS if key not in tree] == []


def test_how_to__schedule_is_one_that_beat_can_follow() -> None:
    settings: dict[str, Any] = {"INSTALLED_APPS": []}
    for block in blocks(ROOT / "docs/how-to.rst", "python"):
        if block.startswith("# project/settings.py"):
            exec(block, settings)
    monthly = settings["CELERY_BEAT_SCHEDULE"]["monthly"]
    assert monthly["task"] == workers.submit.name
    assert set(monthly["kwargs"]) == set(inspect.signature(workers.submit.run).parameters)
    when = monthly["schedule"]
    assert len(when.minute) == len(when.hour) == len(when.day_of_month) == 1
