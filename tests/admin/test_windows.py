"""A filter without an index reads a bounded part of the list, and the list says so."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from async_reply.admin import windows
from async_reply.admin.windows import Window
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, shown
from tests.project.tasks import export

NOTE = "This list was searched among 3 operations"


@pytest.fixture(autouse=True)
def max_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 3)


@pytest.mark.parametrize(
    ("columns", "is_narrow"),
    [
        (["status"], False),
        (["owner", "status"], False),
        (["owner", "kind"], False),
        (["status", "kind"], True),
        (["owner", "status", "kind"], True),
    ],
)
def test_window__narrows_if_no_index_has_the_columns(
    submit: Callable[..., Operation], columns: list[str], is_narrow: bool
) -> None:
    rows = [submit() for _ in range(5)]
    values = {"status": Status.PENDING, "kind": rows[0].kind, "owner": "ada"}
    queryset: Any = Operation.objects.all()
    window = Window(oldest_first=False)
    for column in columns:
        queryset = window.equal(queryset, column, values[column])
    assert queryset.count() == (3 if is_narrow else 5)
    assert (window.beyond is not None) == is_narrow


@pytest.mark.parametrize("oldest_first", [False, True])
def test_window__holds_the_first_rows_and_is_narrowed_once(
    submit: Callable[..., Operation], django_assert_num_queries: Any, oldest_first: bool
) -> None:
    rows = [submit() for _ in range(4)]
    window = Window(oldest_first=oldest_first)
    with django_assert_num_queries(1):
        queryset = window.narrow(window.narrow(Operation.objects.all()))
    assert set(queryset) == set(rows[:3] if oldest_first else rows[1:])
    assert window.beyond == (rows[3] if oldest_first else rows[0]).pk


def test_changelist__says_that_a_filter_read_a_part_of_the_list(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    old = submit()
    Operation.objects.filter(pk=old.pk).update(queue="gpu")
    for _ in range(2):
        submit()
    response = admin_client.get(LIST, {"queue": "gpu"})
    assert shown(response) == [old]
    assert NOTE not in response.content.decode()
    submit()
    response = admin_client.get(LIST, {"queue": "gpu"})
    assert shown(response) == []
    assert NOTE in response.content.decode()
    assert shown(admin_client.get(LIST, {"queue": "gpu", "order": "oldest"})) == [old]


def test_changelist__reads_succeeded_operations_by_kind_first(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    rare = submit(export)
    Operation.objects.filter(pk=rare.pk).update(status=Status.SUCCEEDED)
    for _ in range(4):
        in_status(Status.SUCCEEDED)
    parameters = {"status": "succeeded", "kind": "tests.export"}
    assert shown(admin_client.get(LIST, parameters)) == [rare]
