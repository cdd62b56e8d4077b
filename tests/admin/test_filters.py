"""The filters of the list of operations."""

import html
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from async_reply import tasks
from async_reply.admin import filters, frozen, windows
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation, OperationAttempt
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
    assert shown(admin_client.get(LIST, {"status": "over"})) == []


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
    pk = UUID(int=frozen.smallest_id(age_seconds).int | uuid7().int & (1 << 80) - 1)
    Operation.objects.create(pk=pk, kind="tests.old")
    showing = [
        choice
        for choice in filters.AGE_SECONDS
        if shown(admin_client.get(LIST, {"created": choice}))
    ]
    assert showing == choices
    assert shown(admin_client.get(LIST, {"created": "ever"}))


def test_queue__shows_operations_whose_kind_celery_routes_there(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    routed, own = submit(), submit()
    Operation.objects.filter(pk=own.pk).update(queue="gpu")
    assert [routed] == shown(admin_client.get(LIST, {"queue": "celery"}))
    assert [own] == shown(admin_client.get(LIST, {"queue": "gpu"}))


def test_owner__shows_operations_of_this_owner_only(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    operation = submit(owner="eve & <co>")
    response = admin_client.get(LIST, {"owner": "eve & <co>", "status": "pending"})
    assert [operation] == shown(response)
    text = response.content.decode()
    assert 'name="owner" value="eve &amp; &lt;co&gt;"' in text
    assert '<input type="hidden" name="status" value="pending">' in text


def test_code__shows_failures_with_this_code_only(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    in_status(Status.FAILED)
    operation = in_status(Status.FAILED)
    Operation.objects.filter(pk=operation.pk).update(error={"code": "no-paper"})
    assert [operation] == shown(admin_client.get(LIST, {"code": "no-paper"}))


def test_code__is_looked_for_among_failures(
    in_status: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    failed = in_status(Status.FAILED)
    for _ in range(3):
        in_status(Status.PENDING)
    assert shown(admin_client.get(LIST, {"code": "tests"})) == [failed]
    assert shown(admin_client.get(LIST, {"code": "tests", "status": "pending"})) == []


def test_exception__shows_failures_whose_last_attempt_raised_it(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    without, operation = in_status(Status.FAILED), in_status(Status.FAILED)
    Operation.objects.filter(pk=operation.pk).update(attempt=2)
    for number, name in ((1, "builtins.OSError"), (2, "builtins.KeyError")):
        OperationAttempt.objects.create(
            operation=operation, number=number, exception=name, outcome="failed"
        )
    assert [operation] == shown(admin_client.get(LIST, {"exception": "builtins.KeyError"}))
    assert shown(admin_client.get(LIST, {"exception": "builtins.OSError"})) == []
    assert [without] == shown(admin_client.get(LIST, {"exception": ""}))


def test_finished__shows_outcomes_of_this_age(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    old, new = in_status(Status.FAILED), in_status(Status.SUCCEEDED)
    in_status(Status.RUNNING)
    ago = timezone.now() - timedelta(hours=2)
    Operation.objects.filter(pk=old.pk).update(finished_at=ago)
    assert [new] == shown(admin_client.get(LIST, {"finished": "hour"}))
    assert [new, old] == shown(admin_client.get(LIST, {"finished": "day"}))


def test_order__shows_the_oldest_and_the_longest_running_first(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    rows = [in_status(Status.RUNNING) for _ in range(2)]
    start = timezone.now() - timedelta(hours=1)
    Operation.objects.filter(pk=rows[1].pk).update(started_at=start)
    pending = in_status(Status.PENDING)
    text = admin_client.get(LIST).content.decode()
    links = [html.unescape(link) for link in re.findall(r'href="(\?order=[^"]*)"', text)]
    results = [shown(admin_client.get(LIST + link)) for link in links]
    assert results == [[*rows, pending], [pending], rows[::-1]]


def test_order__of_another_status_is_ignored(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    rows = [in_status(Status.RUNNING), in_status(Status.FAILED)]
    assert rows[::-1] == shown(admin_client.get(LIST, {"order": "longest"}))


def test_newest__leaves_out_newer_operations_and_fixes_ages(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    rows = [submit() for _ in range(3)]
    frozen = {"newest": str(rows[1].pk), "beyond": str(rows[0].pk)}
    assert rows[1:2] == shown(admin_client.get(LIST, frozen))
    now = time.time()
    for at, expected in ((now, rows[::-1]), (now + 7200, []), (now - 7200, rows[::-1])):
        assert expected == shown(admin_client.get(LIST, {"created": "hour", "at": str(at)}))


@pytest.mark.parametrize("name", ["newest", "beyond", "at"])
def test_newest__that_is_malformed_is_refused(admin_client: Client, name: str) -> None:
    response = admin_client.get(LIST, {name: "nonsense", "created": "hour"})
    assert (response.status_code, response["Location"]) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-inf", "1e400", "1e30", "-1e12", "-1e11"])
@pytest.mark.parametrize("age", ["created", "finished"])
@pytest.mark.parametrize("page", ["", "bulk/cancel/"])
def test_moment__that_is_no_time_is_refused(
    admin_client: Client, page: str, age: str, value: str
) -> None:
    """The URL of a frozen list is typed and shortened by hand like any other."""
    query = {"newest": str(uuid7()), "at": value, age: "hour"}
    response = admin_client.get(f"{LIST}{page}", query)
    assert (response.status_code, response["Location"].endswith("?e=1")) == (302, True)
