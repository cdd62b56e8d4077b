"""The tabs of the list: links, and counts that stop at a cap."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from async_reply.admin.paginators import CappedPaginator
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST


def tabs(client: Client, **parameters: str) -> list[Any]:
    response: Any = client.get(LIST, parameters)
    result: list[Any] = response.context["cl"].tabs
    return result


def test_tabs__count_what_is_unfinished_up_to_a_cap(
    in_status: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "cap", 2)
    for status in (*Status, Status.PENDING, Status.PENDING, Status.RUNNING, Status.FAILED):
        in_status(status)
    counts = {tab.status: tab.count for tab in tabs(admin_client)}
    assert counts == {
        "": "",
        "pending": "2+",
        "running": "2",
        "canceling": "1",
        "succeeded": "",
        "failed": "",
        "canceled": "",
    }


def test_tabs__keep_the_filters_and_drop_the_order_of_another_status(admin_client: Client) -> None:
    parameters = {"status": "running", "kind": "tests.echo", "order": "longest", "q": "ada"}
    links = {tab.status: (tab.link, tab.is_current) for tab in tabs(admin_client, **parameters)}
    assert links["failed"] == ("?kind=tests.echo&q=ada&status=failed", False)
    assert links[""] == ("?kind=tests.echo&q=ada", False)
    assert links["running"][1]
