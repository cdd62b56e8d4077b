"""The reference names all that is public, with the defaults and statuses that the code has."""

import ast
import dataclasses
import inspect
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from docutils import nodes
from docutils.core import publish_doctree
from rest_framework.views import APIView

from async_reply import cors, documents, exceptions, responses
from async_reply.attempts import reports
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.protocol import headers, problems
from async_reply.status import FINAL
from async_reply.urls import urlpatterns
from async_reply.views import LongRunningOperationMixin, LongRunningOperationView
from async_reply.worker import beat
from docs._ext.defaults import as_code

REFERENCE = Path(__file__).parents[2] / "docs/reference.rst"
VIEWS = (LongRunningOperationMixin, LongRunningOperationView)


@pytest.fixture(scope="module")
def page() -> nodes.document:
    return publish_doctree(REFERENCE.read_text(), str(REFERENCE))


def section(page: nodes.document, title: str) -> nodes.section:
    return next(each for each in page.findall(nodes.section) if each[0].astext().startswith(title))


def table(page: nodes.document, title: str, column: str) -> dict[str, str]:
    """First cell -> second, of the table in this section whose first column is called so."""
    for found in section(page, title).findall(nodes.table):
        rows = [
            [cell.astext() for cell in row.findall(nodes.entry)] for row in found.findall(nodes.row)
        ]
        if rows[0][0] == column:
            return {row[0].partition("(")[0]: row[1] for row in rows[1:] if row[0]}
    raise LookupError(f"No table in {title!r} starts with {column!r}.")


def literals(page: nodes.document, title: str = "Reference") -> set[str]:
    """The words between backticks in a section; of a call, its name only."""
    where = section(page, title) if title != "Reference" else page
    return {each.astext().partition("(")[0] for each in where.findall(nodes.literal)}


def hooks(*classes: type[Any]) -> set[str]:
    """Methods of these classes that a subclass is to override."""
    names = {name for each in classes for name in vars(each)}
    return {name for name in names if name.startswith(("get_", "perform_"))}


def same(cells: dict[str, str], defaults: dict[str, Any]) -> bool:
    return {name: ast.literal_eval(cells[name]) for name in defaults} == defaults


def test_document__each_member(page: nodes.document) -> None:
    now = timezone.now()
    members = {"queue_position", "input_required"}
    for status in FINAL:
        operation = Operation(status=status, created_at=now, updated_at=now)
        members |= set(documents.describe(operation, {"result": ""}))
    assert members == set(table(page, "The operation document", "Member"))
    assert {"cancel", *documents.LINKS} <= literals(page, "The operation document")


def test_headers__each_field(page: nodes.document) -> None:
    told = set(table(page, "Header fields", "Answers"))
    assert (set(cors.EXPOSED) | headers.KEY_ANSWERS) - {"Azure-AsyncOperation"} <= told
    text = section(page, "Header fields").astext()
    asked = [headers.IDEMPOTENCY_KEY, headers.REPEATABILITY_REQUEST_ID, *cors.ALLOWED]
    assert [name for name in asked if name.lower() not in text.lower()] == []
    fixed = [responses.RESULT_RELATION, headers.POLLED, headers.PRIVATE, ", ".join(headers.VARY_ON)]
    assert [value for value in fixed if value not in text] == []


def test_problems__each_name_with_its_status(page: nodes.document) -> None:
    told = table(page, "Problems", "Name")
    assert set(problems.TITLES) == set(told)
    statuses = {name: str(status) for status, name in responses.PROBLEMS.values() if name}
    assert {name: told[name] for name in statuses} == statuses


def test_views__each_attribute_with_its_default(page: nodes.document) -> None:
    told = table(page, "Views", "Attribute")
    names = {name for view in VIEWS for name in inspect.get_annotations(view)}
    assert names | {"serializer_class"} == set(told)
    defaults = {name: getattr(VIEWS[1], name) for name in told if hasattr(VIEWS[1], name)}
    assert same(told, defaults)


def test_views__each_hook(page: nodes.document) -> None:
    expected = hooks(*VIEWS) - hooks(APIView)
    assert expected == set(table(page, "Views", "Hook"))
    assert "submit" in literals(page, "Views")


def test_access__each_member(page: nodes.document) -> None:
    names = {*inspect.get_annotations(OperationAccess), *vars(OperationAccess)}
    public = {name for name in names if not name.startswith("_")}
    assert public == set(table(page, "Access", "Member"))


def test_tasks__each_option_with_its_default(page: nodes.document) -> None:
    told = table(page, "Tasks", "Option")
    fields = {each.name: each.default for each in dataclasses.fields(Kind)} | {"asks": {}}
    own = {name: value for name, value in fields.items() if name not in ("function", "timeouts")}
    assert {*own, "aliases"} == set(told)
    assert same(told, {name: value for name, value in own.items() if name != "name"})


def test_tasks__each_member_of_the_handle(page: nodes.document) -> None:
    public = {name for name in vars(Job) if not name.startswith("_")} - {"close", "end"}
    assert public - literals(page, "Tasks") == set()


def test_tasks__the_one_of_beat(page: nodes.document) -> None:
    parameters = inspect.signature(beat.submit.run).parameters
    assert {beat.submit.name, *parameters} - literals(page, "Tasks") == set()


def test_exceptions__each(page: nodes.document) -> None:
    classes = inspect.getmembers(exceptions, inspect.isclass)
    names = {name for name, each in classes if each.__module__ == exceptions.__name__}
    told = section(page, "Exceptions").astext()
    assert [name for name in names if name not in told] == []
    reserved = map(str, exceptions.OperationFailed.RESERVED)
    assert [status for status in reserved if status not in told] == []


def test_urls__each_name(page: nodes.document) -> None:
    names = {str(each.name) for each in urlpatterns if each.name}
    assert names - literals(page, "URLs") == set()


def test_settings__are_those_of_the_module() -> None:
    """The page repeats them, since code hosts do not include files. UPDATE_GOLDEN=1 rewrites it."""
    expected = textwrap.indent(as_code(), "    ")
    text = REFERENCE.read_text()
    before, _, rest = text.partition(".. begin settings\n\n.. code-block:: python\n\n")
    written, _, after = rest.partition("\n\n.. end settings")
    if os.environ.get("UPDATE_GOLDEN") and written != expected:
        REFERENCE.write_text(text.replace(written, expected))
    assert (before != text, written, after != "") == (True, expected, True)


def test_testing__each_ending(page: nodes.document) -> None:
    told = section(page, "Tests of a project").astext()
    assert [ending.name for ending in reports.Ending if ending.name not in told] == []
