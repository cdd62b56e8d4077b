"""The list of operations: its columns, its owners, its search, and the statements it costs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from async_reply import lifecycle, services
from async_reply.admin import filters
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.publishing.routing import Route
from async_reply.status import Status
from tests.admin.conftest import LIST, page, shown
from tests.project.tasks import echo, refuse


def cells(client: Client, name: str, **parameters: str) -> list[str]:
    """The texts in one column of the list."""
    text = client.get(LIST, parameters).content.decode()
    return [
        strip_tags(cell).strip()
        for cell in re.findall(rf'<t[dh] class="field-{name}">(.*?)</t[dh]>', text, re.DOTALL)
    ]


def test_changelist__shows_each_status(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operations = [in_status(status) for status in Status]
    response = admin_client.get(LIST)
    text = response.content.decode()
    assert operations[::-1] == shown(response)
    for operation in operations:
        assert f'title="{operation.pk}"' in text
        badge = f'async-reply-{operation.status}">{operation.get_status_display()}</span>'
        assert badge in text


def test_changelist__says_why_the_content_of_a_tombstone_is_gone(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    services.delete(in_status(Status.SUCCEEDED))
    expired = in_status(Status.FAILED)
    Operation.objects.filter(pk=expired.pk).update(expires_at=expired.created_at)
    assert lifecycle.purge(expired, only_expired=False)
    assert cells(admin_client, "state") == ["Failed (expired)", "Succeeded (deleted)"]


def test_changelist__shows_the_start_of_a_delayed_operation(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    due, delayed, failed = submit(), submit(), submit()
    later = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    Operation.objects.exclude(pk=due.pk).update(available_at=later)
    Operation.objects.filter(pk=failed.pk).update(status=Status.FAILED)
    texts = cells(admin_client, "state")
    assert texts == ["Failed", f"Pending (from {later:%Y-%m-%d %H:%M:%S})", "Pending"]
    assert texts[1] in strip_tags(admin_client.get(page(delayed)).content.decode())


def test_changelist__asks_the_routes_once_for_each_kind(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def route(kind: str) -> Route:
        asked.append(kind)
        return Route(f"queue of {kind}")

    for task in (echo, echo, refuse):
        submit(task)
    Operation.objects.filter(kind=refuse.name).update(queue="gpu")
    monkeypatch.setattr(filters, "_queue_of_kinds", dict)
    monkeypatch.setattr("async_reply.publishing.routing.route_or_unknown", route)
    texts = cells(admin_client, "kind_and_queue")
    assert [text.partition(echo.name)[2] for text in texts[1:]] == [f"queue of {echo.name}"] * 2
    assert texts[0].endswith("gpu")
    assert asked == [echo.name]


def test_changelist__shows_progress_as_a_bar_while_an_attempt_runs(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    for status in (Status.RUNNING, Status.SUCCEEDED):
        in_status(status)
    Operation.objects.update(progress=40)
    texts = cells(admin_client, "state")
    assert texts == ["Succeeded", "Running 40\N{NO-BREAK SPACE}% 40\N{NO-BREAK SPACE}%"]
    assert 'value="40" max="100"' in admin_client.get(LIST).content.decode()


def test_changelist__shows_the_code_and_the_first_line_of_an_error(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    in_status(Status.FAILED)
    error = {"code": "no-paper", "detail": "<b>Paper</b> is out.\nSecond line", "more": "hidden"}
    Operation.objects.update(error=error)
    text = admin_client.get(LIST).content.decode()
    assert "<code>no-paper</code> &lt;b&gt;Paper&lt;/b&gt; is out.</div>" in text
    assert "Second line" not in text
    assert "hidden" not in text.partition('id="result_list"')[2]


def test_changelist__shows_ages_waits_and_run_times(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    start = timezone.now() - timedelta(hours=1, seconds=30)
    Operation.objects.filter(pk=operation.pk).update(
        created_at=start,
        available_at=start,
        started_at=start + timedelta(seconds=65),
        finished_at=start + timedelta(minutes=3, seconds=5),
        attempt=3,
    )
    texts = [cells(admin_client, name)[0] for name in ("wait", "run_time", "state")]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts] == [
        "1 min 5 s",
        "2 min",
        "Succeeded attempt 3",
    ]
    assert cells(admin_client, "age")[0].startswith("1\N{NO-BREAK SPACE}h")


def test_changelist__shows_the_queue_to_which_celery_routes_the_kind(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    Operation.objects.filter(pk=submit().pk).update(queue="gpu")
    assert [text.split()[-1] for text in cells(admin_client, "kind_and_queue")] == [
        "tests.project.echogpu",
        "tests.project.echocelery",
    ]


def test_changelist__shows_users_as_owners_by_one_statement(
    submit: Callable[..., Operation],
    admin_client: Client,
    django_user_model: Any,
    django_assert_num_queries: Any,
) -> None:
    users = [django_user_model.objects.create_user(f"user{number}") for number in range(6)]
    for user in users:
        submit(owner=str(user.pk))
    submit(owner=f"0{users[0].pk}")
    submit(owner="9" * 30)
    submit(owner="")
    # Session, user, count, rows, owners, and the counts of three tabs.
    with django_assert_num_queries(8):
        response = admin_client.get(LIST)
    assert (
        f'<a href="/admin/auth/user/{users[0].pk}/change/">user0</a>' in response.content.decode()
    )
    assert cells(admin_client, "person") == [
        "-",
        "9" * 30,
        f"0{users[0].pk}",
        *(f"user{number}" for number in (5, 4, 3, 2, 1, 0)),
    ]


class Teams(OperationAccess):
    """Owners are teams, and no users."""

    def describe_owner(self, owner: str) -> tuple[str, str]:
        return f"Team <{owner}>", f"/teams/{owner}/"

    def find_owners(self, text: str) -> list[str]:
        return ["ada"] if text == "red" else []


def test_changelist__shows_and_finds_owners_as_the_project_describes_them(
    submit: Callable[..., Operation], admin_client: Client, settings: Any
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "ACCESS": f"{__name__}.Teams"}
    operation = submit()
    submit(owner="eve")
    response = admin_client.get(LIST, {"q": "red"})
    assert shown(response) == [operation]
    assert '<a href="/teams/ada/">Team &lt;ada&gt;</a>' in response.content.decode()


def test_changelist__explains_the_search(admin_client: Client) -> None:
    text = admin_client.get(LIST).content.decode()
    assert "An id or the end of one (among the newest 10,000 operations of this list)" in text


@pytest.mark.parametrize("rows", [1, 12])
def test_changelist__takes_seven_statements_however_many_rows(
    submit: Callable[..., Operation],
    admin_client: Client,
    django_assert_num_queries: Any,
    rows: int,
) -> None:
    for number in range(rows):
        submit(number=number)
    # Session, user, count, rows, and the counts of three tabs.
    with django_assert_num_queries(7) as captured:
        admin_client.get(LIST)
    statements = [query["sql"] for query in captured]
    for sql in statements:
        assert "COUNT(" not in sql or "LIMIT" in sql
    for column in ("input", "extra", "reply"):
        assert not [sql for sql in statements if f'"{column}"' in sql]


def test_changelist__reads_no_rows_where_it_has_counted_none(
    submit: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    submit()
    # Session, user, the end of the window, count, and the counts of three tabs.
    with django_assert_num_queries(7):
        response = admin_client.get(LIST, {"code": "nothing"})
    assert shown(response) == []
    assert "0 operations" in response.content.decode()


def test_changelist__ignores_facets_that_would_count(
    submit: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    submit()
    with django_assert_num_queries(7):
        response = admin_client.get(LIST, {"_facets": "True"})
    assert response.status_code == 200
    assert "Show counts" not in response.content.decode()


def test_changelist__works_with_the_permission_to_view_alone(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client]
) -> None:
    for status in Status:
        in_status(status)
    response = staff_client("view_operation").get(LIST)
    assert len(shown(response)) == len(Status)
    assert "/operation/bulk/" not in response.content.decode()


def test_changelist__has_no_inline_script_or_style(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    in_status(Status.RUNNING)
    for url in (LIST, f"{LIST}failures/", f"{LIST}bulk/delete/"):
        text = admin_client.get(url).content.decode()
        assert not re.findall(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=", text)


def test_changelist__refuses_a_nul_character(admin_client: Client) -> None:
    for name in ("kind", "owner", "queue", "code", "exception"):
        response = admin_client.get(LIST, {name: "a\0b"})
        assert (response.status_code, response["Location"]) == (302, f"{LIST}?e=1")


def test_changelist__search_finds_an_id_or_an_owner(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    ada, eve = submit(), submit(owner="eve")
    for term, operations in {
        str(eve.pk): [eve],
        f" {eve.pk.hex} ": [eve],
        "eve": [eve],
        "ada": [ada],
        "ev": [],
        str(eve.pk)[:-1]: [],
        "%": [],
        "0" * 33: [],
        "": [eve, ada],
        " ": [eve, ada],
    }.items():
        assert operations == shown(admin_client.get(LIST, {"q": term})), term


def test_changelist__search_finds_an_owner_that_is_a_uuid(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    owner = "6f9b8a3e-3a53-4a86-9d1e-6a0b1a1f0c11"
    operation = submit(owner=owner)
    assert [operation] == shown(admin_client.get(LIST, {"q": owner}))
