"""The search of the list: ends of ids, user names, idempotency keys."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from async_reply.admin import searches, windows
from async_reply.database import payloads
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, shown
from tests.project.tasks import export


def test_search__finds_the_end_of_an_id_as_the_list_shows_it(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation, other = submit(), submit()
    end = str(operation.pk)[-8:]
    assert shown(admin_client.get(LIST, {"q": end})) == [operation]
    assert shown(admin_client.get(LIST, {"q": f" {end.upper()} "})) == [operation]
    assert shown(admin_client.get(LIST, {"q": end[:5] + "g" + end[6:]})) == []
    assert shown(admin_client.get(LIST, {"q": str(other.pk)[-12:]})) == [other]
    assert shown(admin_client.get(LIST, {"q": str(other.pk)[:8]})) == []


def test_search__for_the_end_of_an_id_reads_the_newest_operations_of_the_tab(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    old = submit()
    Operation.objects.filter(pk=old.pk).update(status=Status.FAILED)
    for _ in range(2):
        submit()
    end = str(old.pk)[-8:]
    assert shown(admin_client.get(LIST, {"q": end})) == []
    assert shown(admin_client.get(LIST, {"q": end, "status": "failed"})) == [old]


def test_search__finds_the_operations_of_a_user_by_the_beginning_of_the_name(
    submit: Callable[..., Operation], admin_client: Client, django_user_model: Any
) -> None:
    grace = django_user_model.objects.create_user("grace.hopper")
    operation = submit(owner=str(grace.pk))
    submit()
    assert shown(admin_client.get(LIST, {"q": "grace"})) == [operation]
    assert shown(admin_client.get(LIST, {"q": "hopper"})) == []


def test_search__finds_an_idempotency_key_in_the_list_of_its_owner(
    admin_client: Client, django_user_model: Any
) -> None:
    grace = django_user_model.objects.create_user("grace")
    client = APIClient()
    client.force_authenticate(grace)
    for key in ("first-order", "second-order"):
        headers = {"Idempotency-Key": key}
        assert client.post("/echoes/", {}, headers=headers).status_code == 202
    second: Any = Operation.objects.order_by("pk").last()
    query = {"q": "second-order", "owner": str(grace.pk)}
    assert shown(admin_client.get(LIST, query)) == [second]
    assert shown(admin_client.get(LIST, {"q": "second-order"})) == []
    digest = second.idempotency_digest
    assert shown(admin_client.get(LIST, {"q": digest})) == [second]


def test_search__finds_a_key_of_a_view_to_which_the_owner_has_submitted_lately(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "MAX_VIEW_ROWS", 2)
    row = submit(task=export)
    Operation.objects.filter(pk=row.pk).update(
        view="shop.Orders", idempotency_digest=payloads.digest("ada", "shop.Orders", "first-order")
    )
    query = {"q": "first-order", "owner": "ada"}
    submit()
    assert shown(admin_client.get(LIST, query)) == [row]
    submit()
    assert shown(admin_client.get(LIST, query)) == []
    assert shown(admin_client.get(LIST, {**query, "kind": row.kind})) == [row]


def test_search__of_autocompletion_with_a_text_that_no_database_takes(admin_client: Client) -> None:
    """A project whose model points at operations may have `autocomplete_fields`."""
    field = {"app_label": "async_reply", "model_name": "operation", "field_name": "rerun_of"}
    response = admin_client.get("/admin/autocomplete/", {**field, "term": "a\x00b"})
    assert response.json()["results"] == []
