"""Each how-to page has an example that runs, and that is answered as the page shows.

The settings of a page are executed, its files imported, its tests run and its curl commands sent.
"""

import ast
import random
import re
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from django.contrib import admin
from django.core.checks import ERROR, run_checks
from django.db import connection, transaction
from docutils import nodes
from docutils.core import publish_doctree
from pytest_django import Settings
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from tests.docs import stand_ins
from tests.docs.example import SETTINGS, Example
from tests.packaging.documents import HOW_TO, all_blocks, snippets
from tests.packaging.environments import ROOT

pytestmark = pytest.mark.django_db

PAGES = sorted(path for path in HOW_TO.glob("*.rst") if path.name != "index.rst")
#: Settings of Django and REST framework that a running test can change. The others are executed.
APPLIED = {"ASYNC_REPLY", "REST_FRAMEWORK"}
#: Settings of REST framework that its views read when they are imported.
READ_AT_IMPORT = {
    "authentication_classes": "DEFAULT_AUTHENTICATION_CLASSES",
    "permission_classes": "DEFAULT_PERMISSION_CLASSES",
    "versioning_class": "DEFAULT_VERSIONING_CLASS",
}
#: Why the settings of a page are executed and not applied.
NOT_APPLIED = {
    "tenants": "They need PostgreSQL; tests/projects/test_tenants.py has it.",
    "keep-files-in-s3": "They need S3; tests/contrib/test_s3.py has a server for it.",
    "wait-instead-of-poll": "They need PostgreSQL; tests/notifications has it.",
}
#: Pages without an answer to compare, and the reason.
WITHOUT_ANSWERS = {
    "behind-a-proxy": "Its test is run.",
    "upgrade": "Its test is run.",
    "files-in-a-single-page-app": "tests/static/test_null_origin.py has a browser.",
    "runbook": "tests/docs/test_runbook.py compares its lines with the code.",
    "migrate-from-asyncresult": "Its test is run.",
    "ask-a-person": "Its test is run.",
    "links-in-e-mails": "Its test is run.",
    "partial-results": "Its test is run.",
    "python-client": "Its test is run.",
    "read-a-result": "Its test is run.",
    "route-queues": "Its test is run.",
    "tell-when-done": "Its test is run.",
    "tokens-that-expire": "Its test is run.",
    "tenants": "tests/projects/test_tenants.py has tenants on PostgreSQL.",
    "keep-files-in-s3": "tests/contrib/test_s3.py asks a server of S3.",
    "keys-in-logs": "tests/projects/test_logs.py reads the logs of real servers.",
    "count-connections": "tests/system/test_pools_of_connections.py counts them.",
    "django-tasks": "tests/contrib/test_django_tasks.py runs tasks where Django has them.",
    "database-clock": "It configures a server.",
    "logs": "tests/attempts/test_reports.py reads the lines.",
    "deploy": "tests/system/test_signals.py stops real workers.",
    "follow-in-a-browser": "tests/static/test_how_to.py runs its pages in Chromium.",
    "guard-the-broker": "It configures a server.",
    "production": "It configures servers.",
    "supervise-workers": "tests/faults/test_supervision.py supervises real workers.",
    "own-database": "tests/projects/test_own_database.py has two databases.",
    "submit-without-http": "Its test is run.",
    "test-your-views": "Its test is run.",
    "run-on-a-schedule": "tests/docs/test_docs.py reads the schedule as celery beat does.",
    "record-failures-in-celery": "tests/admin/test_operations.py links a TaskResult.",
}
#: Warnings that say a page's example is wrong: its input or a name.
MISTAKES = {"async_reply.W112", "async_reply.W113", "async_reply.W116"}
LANGUAGES = {"python", "console", "text", "nginx", "ini", "yaml", "javascript", "html"}
#: Blocks of Python begin with the file that they belong into.
FILE = re.compile(r"# (?:(?:project|reports)/\w+\.py)\b")


def page_name(page: Path) -> str:
    return page.stem


pages = pytest.mark.parametrize("page", PAGES, ids=page_name)


@pytest.fixture
def example(
    page: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Example]:
    """The page's example in a folder of its own, imported."""
    example = Example(page, tmp_path)
    example.write()
    registry = dict(admin.site._registry)
    monkeypatch.syspath_prepend(tmp_path)
    # A job that is tried again at once would have ended before the page polls it.
    monkeypatch.setattr(random, "uniform", max)
    stand_ins.install(monkeypatch)
    settings.ALLOWED_HOSTS = ["*"]
    settings.REST_FRAMEWORK = {"TEST_REQUEST_DEFAULT_FORMAT": "json"}
    settings.ROOT_URLCONF = "project.urls"
    if "reports/models.py" in example.files:
        if not connection.features.can_rollback_ddl:
            pytest.skip("the tables of the example would outlive the test")
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "reports"]
    configured = {"ASYNC_REPLY": {}, **example.settings()}
    for name in configured.keys() & APPLIED if page.stem not in NOT_APPLIED else ():
        setattr(settings, name, configured[name])
    for attribute, name in READ_AT_IMPORT.items():
        monkeypatch.setattr(APIView, attribute, getattr(api_settings, name))
    try:
        example.load()
        yield example
    finally:
        example.unload()
        admin.site._registry.clear()
        admin.site._registry.update(registry)


@pages
def test_page__example_runs_and_is_answered_as_shown(page: Path, example: Example) -> None:
    with transaction.atomic():
        compared = example.converse()
        transaction.set_rollback(True)
    assert (compared > 0) != (page.stem in WITHOUT_ANSWERS)
    # At the end: Django's TestCase closes the connections when it is done.
    example.test()


@pages
def test_page__example_passes_the_system_checks(page: Path, example: Example) -> None:
    messages = run_checks(tags=["async_reply"])
    serious = [m for m in messages if m.level >= ERROR or m.id in MISTAKES]
    assert serious == []


@pages
def test_page__settings_are_known_and_valid(page: Path, tmp_path: Path, settings: Settings) -> None:
    settings.ASYNC_REPLY = Example(page, tmp_path).settings().get("ASYNC_REPLY", {})
    ids = {message.id for message in run_checks(tags=["async_reply"])}
    assert ids & {"async_reply.E010", "async_reply.E011", "async_reply.E012"} == set()


@pages
def test_page__each_block_of_python_names_its_file_and_compiles(page: Path) -> None:
    for path, text in snippets(page):
        assert FILE.match(text), text
        compile(text, path, "exec")
    assert {block.language for block in all_blocks(page)} <= LANGUAGES


@pages
def test_page__says_first_what_it_is_for_and_has_an_example(page: Path) -> None:
    tree = publish_doctree(page.read_text(), str(page))
    title, first, *_ = tree.children
    assert isinstance(title, nodes.title)
    assert isinstance(first, nodes.paragraph)
    assert all_blocks(page)


def test_index__lists_each_page_once_by_its_title() -> None:
    index = (HOW_TO / "index.rst").read_text()
    listed = re.findall(r"^- `([^`<]+) <([\w-]+\.rst)>`_", index, re.MULTILINE)
    titles = {page.name: page.read_text().partition("\n")[0] for page in PAGES}
    assert sorted((name, title) for title, name in listed) == sorted(titles.items())


def test_exceptions__name_pages_that_there_are() -> None:
    names = {page.stem for page in PAGES}
    assert {*NOT_APPLIED, *WITHOUT_ANSWERS} <= names
    assert SETTINGS in {path for page in PAGES for path, _ in snippets(page)}


@pages
def test_page__needs_no_package_that_make_test_does_not_install(page: Path) -> None:
    """`make install` leaves out the extra `clients`."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    clients = {name.lower() for name in config["options.extras_require"]["clients"].split()}
    distributions = packages_distributions()
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for _, text in snippets(page)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    for name in imported:
        needed = {each.lower() for each in distributions.get(name.partition(".")[0], [])}
        assert not needed & clients, name
