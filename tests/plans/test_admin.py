"""No page for operators scans the table of operations: each reads and sorts a window of it."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from async_reply.admin import bulk, windows
from async_reply.contrib.prometheus import OperationCollector
from async_reply.models import Operation
from async_reply.statistics import backlog
from async_reply.status import Status
from tests.admin.conftest import LIST
from tests.plans import filling
from tests.plans.explaining import ANY_SORT, plans_of, rows_read_by

pytestmark = [pytest.mark.plans, pytest.mark.django_db]

QUERIES = {
    "all": "",
    "deep": "?p=90",
    **{status.value: f"?status={status}" for status in Status},
    "oldest": "?order=oldest",
    "oldest waiting": "?order=waiting&status=pending",
    "longest running": "?order=longest&status=running",
    "stuck": "?attention=stuck",
    "overdue": "?attention=overdue",
    "released": "?attention=idle",
    "created": "?created=hour",
    "finished": "?finished=hour",
    "finished failed": "?finished=week&status=failed",
    "owner": f"?owner={filling.OWNER}",
    "owner and status": f"?owner={filling.OWNER}&status=failed",
    "owner and kind": f"?owner={filling.OWNER}&kind=tests.rare",
    "rare kind": "?kind=tests.rare",
    "frequent kind": "?kind=tests.export",
    "kind and status": "?kind=tests.export&status=failed",
    "rare kind and status": "?kind=tests.rare&status=canceled",
    "queue": "?queue=celery",
    "code": "?status=failed&code=nothing",
    "exception": "?status=failed&exception=builtins.ValueError",
    "end of an id": "?q=00030d40",
    "user": "?q=ada",
    "key": f"?owner={filling.OWNER}&q=a-key",
}
PAGES = {
    **{name: LIST + query for name, query in QUERIES.items()},
    "dashboard": f"{LIST}dashboard/",
    "failures": f"{LIST}failures/?finished=week",
    "bulk": f"{LIST}bulk/cancel/",
    "bulk code": f"{LIST}bulk/delete/?status=failed&code=nothing",
    "bulk kind": f"{LIST}bulk/cancel/?kind=tests.export",
}


@pytest.mark.parametrize("url", PAGES.values(), ids=PAGES.keys())
def test_page(admin_client: Client, url: str) -> None:
    def load() -> None:
        assert admin_client.get(url).status_code == 200

    most = bulk.MAX_COUNTED if "/bulk/" in url else windows.MAX_ROWS
    for plan in plans_of(load):
        assert None not in plan.indexes, plan
        assert plan.sorts <= most or plan.sorts == ANY_SORT, plan


@pytest.mark.skipif(connection.vendor != "postgresql", reason="counts rows by EXPLAIN ANALYZE")
@pytest.mark.parametrize("url", PAGES.values(), ids=PAGES.keys())
def test_page__reads_a_bounded_number_of_rows(admin_client: Client, url: str) -> None:
    most = bulk.MAX_COUNTED if "/bulk/" in url else windows.MAX_ROWS
    for sql, rows in rows_read_by(lambda: admin_client.get(url)).items():
        # PostgreSQL may read a kind that nearly all rows have by the primary key.
        assert rows <= most * 1.05, sql


@pytest.mark.skipif(connection.vendor != "postgresql", reason="counts rows by EXPLAIN ANALYZE")
def test_scrape__reads_each_operation_that_waits_or_runs_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collector = OperationCollector()
    read = rows_read_by(lambda: list(collector.collect()))
    assert sorted(read.values()) == [100, 100, 2000]  # unpublished, running, waiting
    monkeypatch.setattr(backlog, "ROWS_COUNTED", 50)
    assert sorted(rows_read_by(lambda: list(collector.collect())).values()) == [50, 50, 50]


@pytest.mark.parametrize("status", [Status.FAILED, Status.PENDING, Status.RUNNING])
def test_page__of_one(admin_client: Client, status: Status) -> None:
    row: Any = Operation.objects.filter(status=status, deleted_at=None).order_by("pk").first()
    for plan in plans_of(lambda: admin_client.get(f"{LIST}{row.pk}/change/")):
        assert None not in plan.indexes, plan
