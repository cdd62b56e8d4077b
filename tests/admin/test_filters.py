"""The filters of the list of operations."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from async_reply import tasks
from async_reply.admin import filters
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, shown
from tests.project.tasks import export


@pytest.mark.parametrize("status", Status)
def test_status__shows_operations_in_this_status_only(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    operations = {status: in_status(status) for status in Status}
    assert [operations[status]] == shown(admin_client.get(LIST, {"status": status}))


def test_status__unknown_shows_no_operation(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    assert shown(admin_client.get(LIST, {"status": "finished"})) == []


def test_kind__shows_operations_of_this_kind_only(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    operation = submit(export)
    assert [operation] == shown(admin_client.get(LIST, {"kind": "tests.export"}))


def test_kind__accepts_a_kind_that_is_no_longer_registered(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    old = Operation.objects.create(kind="tests.gone")
    assert [old] == shown(admin_client.get(LIST, {"kind": "tests.gone"}))


def test_kind__choices_come_from_the_tasks_without_a_query(
    submit: Callable[..., Operation], admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    Operation.objects.create(kind="tests.gone")
    with django_assert_max_num_queries(9) as captured:
        response = admin_client.get(LIST)
    assert "?kind=tests.export" in response.content.decode()
    assert "?kind=tests.gone" not in response.content.decode()
    assert not [query for query in captured.captured_queries if "DISTINCT" in query["sql"]]


def test_kind__choices_include_tasks_that_only_a_worker_imports(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "registered", {})
    monkeypatch.setattr(tasks, "discover", lambda: tasks.registered.update({"tests.late": []}))
    assert "?kind=tests.late" in admin_client.get(LIST).content.decode()


def test_kind__choices_remain_if_a_module_cannot_be_imported(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise ImportError("no such library")

    monkeypatch.setattr(tasks, "discover", break_down)
    assert "?kind=tests.export" in admin_client.get(LIST).content.decode()
    assert "no such library" in caplog.text


@pytest.mark.parametrize(
    ("age_seconds", "choices"),
    [
        (60, ["hour", "day", "week"]),
        (2 * 3600, ["day", "week"]),
        (2 * 24 * 3600, ["week"]),
        (8 * 24 * 3600, []),
    ],
)
@pytest.mark.django_db
def test_created__compares_the_time_in_the_id(
    admin_client: Client, age_seconds: int, choices: list[str]
) -> None:
    pk = UUID(int=filters.smallest_id(age_seconds).int | uuid7().int & (1 << 80) - 1)
    Operation.objects.create(pk=pk, kind="tests.old")
    showing = [
        choice
        for choice in filters.AGE_SECONDS
        if shown(admin_client.get(LIST, {"created": choice}))
    ]
    assert showing == choices
    assert shown(admin_client.get(LIST, {"created": "ever"}))
