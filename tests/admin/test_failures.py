"""The page that groups failures."""

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from async_reply import services
from async_reply.admin import windows
from async_reply.models import Operation, OperationAttempt
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.admin.conftest import LIST, shown
from tests.project import tasks

FAILURES = f"{LIST}failures/"


@pytest.fixture
def failed(submit: Callable[..., Operation]) -> list[Operation]:
    """Two refusals and one accident."""
    rows = [submit(tasks.refuse), submit(tasks.break_down), submit(tasks.refuse)]
    run_operations()
    return [Operation.objects.get(pk=row.pk) for row in rows]


def groups(client: Client, **parameters: str) -> list[Any]:
    response: Any = client.get(FAILURES, parameters)
    return list(response.context["groups"])


def test_failures__are_grouped_by_kind_code_and_exception(
    failed: list[Operation],
    in_status: Callable[..., Operation],
    admin_client: Client,
    django_assert_num_queries: Any,
) -> None:
    for status in Status:
        if status != Status.FAILED:
            in_status(status)
    # Session, user, the end of the window, groups.
    with django_assert_num_queries(4):
        rows = groups(admin_client)
    assert [(row.kind, row.code, row.exception, row.count) for row in rows] == [
        ("tests.refuse", "year-not-over", "async_reply.exceptions.OperationFailed", 2),
        ("tests.break_down", "internal-error", "builtins.ZeroDivisionError", 1),
    ]
    assert shown(admin_client.get(rows[0].link)) == [failed[2], failed[0]]
    assert shown(admin_client.get(rows[1].link)) == [failed[1]]


def test_failures__count_the_last_attempt_alone_and_not_what_was_deleted(
    failed: list[Operation], admin_client: Client
) -> None:
    OperationAttempt.objects.create(
        operation=failed[1], number=7, exception="builtins.KeyError", outcome="retry"
    )
    services.delete(failed[0])
    assert sorted((row.kind, row.count) for row in groups(admin_client)) == [
        ("tests.break_down", 1),
        ("tests.refuse", 1),
    ]


def test_failures__are_those_of_an_hour_a_day_or_a_week(
    failed: list[Operation], admin_client: Client
) -> None:
    for operation, hours in zip(failed, (0, 3, 50), strict=True):
        ago = timezone.now() - timedelta(hours=hours)
        Operation.objects.filter(pk=operation.pk).update(finished_at=ago)
    counts = {
        age: sum(row.count for row in groups(admin_client, finished=age))
        for age in ("hour", "day", "week", "nonsense")
    }
    assert counts == {"hour": 1, "day": 2, "week": 3, "nonsense": 2}
    assert sum(row.count for row in groups(admin_client)) == 2


def test_failures__say_that_not_all_were_read(
    failed: list[Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "There are more failures."
    assert note not in admin_client.get(FAILURES).content.decode()
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    assert note in admin_client.get(FAILURES).content.decode()
    assert sum(row.count for row in groups(admin_client)) == 2


def test_failures__of_a_group_are_rerun_and_deleted(
    failed: list[Operation], admin_client: Client
) -> None:
    [refused, _broken] = groups(admin_client)
    links = {command.name: link for command, link in refused.commands}
    assert sorted(links) == ["delete", "rerun"]
    text = admin_client.get(links["rerun"]).content.decode()
    assert "<strong>2 operations</strong>" in text
    [action] = re.findall(r'<form method="post" action="([^"]*)"', text)
    admin_client.post(html.unescape(action), {"confirmed": "yes"})
    run_operations(limit=3)
    assert [operation.reruns.count() for operation in failed] == [1, 0, 1]


def test_failures__need_the_permission_to_view_and_offer_what_is_allowed(
    failed: list[Operation], staff_client: Callable[..., Client], client: Client
) -> None:
    assert client.get(FAILURES).status_code == 302
    viewer = staff_client("view_operation")
    assert [row.commands for row in groups(viewer)] == [[], []]
    assert "a secret of the server" not in viewer.get(FAILURES).content.decode()


def test_failures__without_the_permission_to_view_are_refused(
    failed: list[Operation], staff_client: Callable[..., Client]
) -> None:
    assert staff_client("rerun_operation").get(FAILURES).status_code == 403


def test_failures__are_those_until_now_whatever_the_url_freezes(admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}failures/", {"at": "nan"}).status_code == 200
