"""The count of a list stops at a cap."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from async_reply.admin.paginators import CappedPaginator
from async_reply.models import Operation
from tests.admin.conftest import LIST, shown

NOTE = "There are more than 3"


@pytest.fixture(autouse=True)
def cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CappedPaginator, "cap", 3)


@pytest.mark.parametrize(
    ("rows", "count", "is_capped"), [(0, 0, False), (3, 3, False), (4, 3, True), (9, 3, True)]
)
def test_count__stops_at_the_cap(
    submit: Callable[..., Operation], rows: int, count: int, is_capped: bool
) -> None:
    for _ in range(rows):
        submit()
    paginator = CappedPaginator(Operation.objects.order_by("created_at"), 2)
    assert (count, is_capped) == (paginator.count, paginator.is_capped)


def test_count__is_one_statement_with_the_limit_and_the_order_of_an_index_inside(
    submit: Callable[..., Operation], django_assert_num_queries: Any
) -> None:
    submit()
    paginator = CappedPaginator(Operation.objects.order_by("created_at"), 2)
    with django_assert_num_queries(1) as captured:
        assert (paginator.count, paginator.is_capped, paginator.num_pages) == (1, False, 1)
    [query] = captured.captured_queries
    assert re.search(r"ORDER BY .+ DESC LIMIT 4\) subquery", query["sql"])


def test_changelist__says_that_there_are_more_rows_than_the_cap(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    for _ in range(3):
        submit()
    assert NOTE not in admin_client.get(LIST).content.decode()
    submit()
    assert NOTE in admin_client.get(LIST).content.decode()


def test_changelist__pages_up_to_the_cap(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_reply.admin.operations.OperationAdmin.list_per_page", 2)
    newest = [submit() for _ in range(5)][::-1]
    assert newest[:2] == shown(admin_client.get(LIST))
    assert newest[2:3] == shown(admin_client.get(LIST, {"p": "2"}))
    beyond = admin_client.get(LIST, {"p": "3"})
    assert (302, f"{LIST}?e=1") == (beyond.status_code, beyond["Location"])
