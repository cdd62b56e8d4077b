"""Sphinx builds the site without a warning, and each link inside of it leads somewhere."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from async_reply import conf
from tests.docs.test_public_paths import PATHS
from tests.packaging.environments import ROOT

pytest.importorskip("furo", reason="needs the extra docs")

DOCS = ROOT / "docs"
#: Public paths without docstrings to show: the reference has what they hold.
NOT_MODULES = (
    "async_reply.conf",
    "async_reply.contrib.opentelemetry",
    "async_reply.management.",
    "async_reply.statistics.health.",
    "async_reply.urls",
)
PAGES = sorted(DOCS.rglob("*.rst"))


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages as `make docs` does, with warnings as errors."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    return subprocess.run(
        [*command, "-c", str(DOCS), str(source), str(target)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass
class Page(HTMLParser):
    """The anchors and links of a built page, and the text of its settings."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value or "")
            elif (tag, name) in {("a", "href"), ("img", "src")}:
                self.links.add(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    process = build(DOCS, folder)
    assert (process.returncode, process.stderr) == (0, "")
    return {path: Page(path) for path in folder.rglob("*.html")}


@pytest.mark.packaging
def test_site__has_each_page(site: dict[Path, Page]) -> None:
    folder = next(path for path in site if path.name == "search.html").parent
    expected = {folder / page.relative_to(DOCS).with_suffix(".html") for page in PAGES}
    assert expected - set(site) == set()


@pytest.mark.packaging
def test_site__links_inside_lead_to_pages_and_anchors(site: dict[Path, Page]) -> None:
    broken: dict[str, list[str]] = defaultdict(list)
    for page in site.values():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (page.path.parent / unquote(url.path)).resolve() if url.path else page.path
            is_anchor = target in site and url.fragment
            if not target.is_file() or (is_anchor and url.fragment not in site[target].anchors):
                broken[page.path.name].append(link)
    assert broken == {}


@pytest.mark.packaging
def test_site__has_an_anchor_for_each_setting(site: dict[Path, Page]) -> None:
    page = next(page for path, page in site.items() if path.name == "settings.html")
    assert [key for key in conf.SETTINGS if f"confval-{key}" not in page.anchors] == []


@pytest.mark.packaging
def test_site__has_an_entry_for_each_public_path(site: dict[Path, Page]) -> None:
    titles = {page.read_text().partition("\n")[0].strip("`") for page in PAGES}
    entries = titles.union(*(page.anchors for page in site.values()))
    missing = {path for path in PATHS if path not in entries and f"{path}.submit" not in entries}
    assert {path for path in missing if not path.startswith(NOT_MODULES)} == set()


@pytest.mark.packaging
@pytest.mark.parametrize(
    "text",
    ["Page\n====\n\n`Elsewhere <elsewhere.rst>`_\n", "Page\n====\n\n:confval:`NOWHERE`\n"],
    ids=["file", "setting"],
)
def test_site__link_to_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.rst").write_text(text)
    process = build(tmp_path, tmp_path / "built")
    assert process.returncode != 0
    assert "elsewhere.rst" in process.stderr or "NOWHERE" in process.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_page__says_first_what_it_is_for(page: Path) -> None:
    tree = publish_doctree(page.read_text(), str(page), settings_overrides={"report_level": 5})
    title, first, *_ = tree.children
    assert isinstance(title, nodes.title)
    assert isinstance(first, nodes.paragraph)
    assert first.astext().split(".")[0].count(" ") > 3
