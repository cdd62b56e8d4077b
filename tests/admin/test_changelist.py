"""The list of operations: its columns, its search, and the statements it costs."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from async_reply import lifecycle, services
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, page, shown


def test_changelist__shows_each_status(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operations = [in_status(status) for status in Status]
    response = admin_client.get(LIST)
    text = response.content.decode()
    assert operations[::-1] == shown(response)
    for operation in operations:
        assert f'title="{operation.pk}"' in text
        assert f'<td class="field-state">{operation.get_status_display()}</td>' in text


def test_changelist__says_why_the_content_of_a_tombstone_is_gone(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    services.delete(in_status(Status.SUCCEEDED))
    expired = in_status(Status.FAILED)
    Operation.objects.filter(pk=expired.pk).update(expires_at=expired.created_at)
    assert lifecycle.purge(expired, only_expired=False)
    text = admin_client.get(LIST).content.decode()
    assert "Succeeded (deleted)" in text
    assert "Failed (expired)" in text


def test_changelist__shows_the_start_of_a_delayed_operation(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    due, delayed, failed = submit(), submit(), submit()
    later = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    Operation.objects.exclude(pk=due.pk).update(available_at=later)
    Operation.objects.filter(pk=failed.pk).update(status=Status.FAILED)
    states = re.findall(
        r'<td class="field-state">(.*?)</td>', admin_client.get(LIST).content.decode()
    )
    texts = [re.sub(r"<.*?>", "", state) for state in states]
    assert texts == ["Failed", f"Pending (from {later:%Y-%m-%d %H:%M:%S})", "Pending"]
    assert texts[1] in re.sub(r"</?span.*?>", "", admin_client.get(page(delayed)).content.decode())


@pytest.mark.parametrize(
    ("status", "text"),
    [(Status.RUNNING, "Running, 40\N{NO-BREAK SPACE}%"), (Status.SUCCEEDED, "Succeeded")],
)
def test_changelist__shows_progress_until_the_operation_has_succeeded(
    in_status: Callable[..., Operation], admin_client: Client, status: Status, text: str
) -> None:
    operation = in_status(status)
    Operation.objects.update(progress=40)
    assert f'<td class="field-state">{text}</td>' in admin_client.get(LIST).content.decode()
    assert f">{text}</div>" in admin_client.get(page(operation)).content.decode()


def test_changelist__explains_the_search(admin_client: Client) -> None:
    text = admin_client.get(LIST).content.decode()
    assert "The whole id of an operation (the list shows only its end), or the exact owner." in text


@pytest.mark.parametrize("rows", [1, 12])
def test_changelist__takes_four_statements_however_many_rows(
    submit: Callable[..., Operation],
    admin_client: Client,
    django_assert_num_queries: Any,
    rows: int,
) -> None:
    for number in range(rows):
        submit(number=number)
    # Session, user, count, rows.
    with django_assert_num_queries(4) as captured:
        admin_client.get(LIST)
    statements = [query["sql"] for query in captured]
    for sql in statements:
        assert "COUNT(" not in sql or "LIMIT" in sql
    for column in ("input", "error", "extra", "reply"):
        assert not [sql for sql in statements if f'"{column}"' in sql]


def test_changelist__ignores_facets_that_would_count(
    submit: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    submit()
    with django_assert_num_queries(4):
        response = admin_client.get(LIST, {"_facets": "True"})
    assert response.status_code == 200
    assert "Show counts" not in response.content.decode()


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
