"""Pages of the admin cannot change anything; the list of workers."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin import site
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from async_reply.models import Operation, Worker
from async_reply.publishing.queues import SEEN_WITHIN
from async_reply.worker.presence import Presence
from tests.admin.conftest import LIST, page

pytestmark = pytest.mark.django_db

WORKERS = "/admin/async_reply/worker/"


@pytest.fixture
def worker() -> Worker:
    row: Worker = Worker.objects.create(name="w1@<b>host</b>", concurrency=4, queues=["celery"])
    return row


def test_workers__are_shown(admin_client: Client, worker: Worker) -> None:
    for url in (WORKERS, f"{WORKERS}{worker.pk}/change/"):
        text = admin_client.get(url).content.decode()
        assert "w1@&lt;b&gt;host&lt;/b&gt;" in text
        assert "<b>host" not in text


@pytest.mark.parametrize("rows", [1, 12])
def test_workers__are_alive_if_they_were_seen_lately(
    admin_client: Client, django_assert_num_queries: Any, rows: int
) -> None:
    for number in range(rows):
        Worker.objects.create(name=f"dead{number}", seen_at=timezone.now() - 2 * SEEN_WITHIN)
    Presence(name="w1", concurrency=4, queues=["celery"]).report()
    # Session, user, queues with waiting operations, count, rows.
    with django_assert_num_queries(5):
        response = admin_client.get(WORKERS)
    marks = re.findall(
        r'<td class="field-alive"><img src=".*?icon-(\w+)', response.content.decode()
    )
    assert ["yes", *["no"] * rows] == marks


def test_workers__warn_of_a_queue_that_no_worker_reads(
    admin_client: Client, submit: Callable[..., Operation]
) -> None:
    assert "no worker reads" not in admin_client.get(WORKERS).content.decode()
    ago = timezone.now() - 2 * SEEN_WITHIN
    Operation.objects.filter(pk=submit().pk).update(queue="<reports>", available_at=ago)
    text = admin_client.get(WORKERS).content.decode()
    assert "Operations wait in queue &lt;reports&gt;, which no worker reads." in text


def test_statistics__have_no_page(admin_client: Client) -> None:
    assert "statistics" not in admin_client.get("/admin/async_reply/").content.decode()


@pytest.mark.parametrize("model", ["operation", "worker"])
def test_pages__refuse_to_add_change_and_delete(
    admin_client: Client,
    submit: Callable[..., Operation],
    worker: Worker,
    model: str,
) -> None:
    base, change = {
        "operation": (LIST, page(submit())),
        "worker": (WORKERS, f"{WORKERS}{worker.pk}/change/"),
    }[model]
    delete = change.replace("/change/", "/delete/")
    statuses = [
        admin_client.get(f"{base}add/").status_code,
        admin_client.post(f"{base}add/").status_code,
        admin_client.get(change).status_code,
        admin_client.post(change).status_code,
        admin_client.get(delete).status_code,
        admin_client.post(delete, {"post": "yes"}).status_code,
    ]
    assert statuses == [403, 403, 200, 403, 403, 403]
    assert Worker.objects.count() == 1


@pytest.mark.parametrize(
    "lookup", ["input__contains", "error__code", "owner__icontains", "files__name", "id__exact"]
)
def test_changelist__refuses_lookups_other_than_its_filters(
    admin_client: Client, lookup: str
) -> None:
    assert admin_client.get(LIST, {lookup: "a"}).status_code == 400


def test_changelist__is_always_ordered_by_its_index(
    admin_client: Client, submit: Callable[..., Operation], django_assert_num_queries: Any
) -> None:
    submit(owner="b")
    submit(owner="a")
    for order in ("2", "-4", "4.3", "nonsense"):
        with django_assert_num_queries(7) as captured:
            admin_client.get(LIST, {"o": order})
        rows = [query["sql"] for query in captured if not query["sql"].startswith("SELECT COUNT")]
        assert [_order(sql) for sql in rows if "ORDER BY" in sql] == ["id"]


def _order(sql: str) -> str:
    """The column by which a statement orders its rows."""
    ordering = sql.partition("ORDER BY")[2].split()[0]
    return ordering.partition(".")[2].strip('`"')


def _our_lists() -> list[str]:
    """The URLs of all lists of ours, those of optional parts included."""
    models = [model for model in site._registry if model.__module__.startswith("async_reply.")]
    names = [f"{model._meta.app_label}_{model._meta.model_name}" for model in models]
    return [reverse(f"admin:{name}_changelist") for name in names]


@pytest.mark.parametrize("url", _our_lists())
def test_changelist__takes_odd_texts_in_its_url(admin_client: Client, url: str) -> None:
    names = ["q", "state", "status", "kind", "queue", "owner", "created", "order"]
    for name in names:
        for text in ("%00", "%F0%9F%98%80", "x" * 999, "%27", "-1"):
            response = admin_client.get(f"{url}?{name}={text}")
            assert response.status_code in (200, 302, 400), (name, text)
