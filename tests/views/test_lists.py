"""The list of the caller's operations: its order, pages and filters."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from async_reply import services
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db

Submit = Callable[..., Operation]
LIST = "/api/operations/"


def ids(response: Any) -> list[str]:
    return [document["id"] for document in response.json()["results"]]


def test_list__of_the_caller_newest_first(
    api: APIClient, submit: Submit, stranger: AbstractBaseUser
) -> None:
    mine = [str(submit().pk) for _ in range(3)]
    services.submit(tasks.echo, owner=str(stranger.pk))
    response = api.get(LIST)
    assert (response.status_code, ids(response)) == (200, mine[::-1])
    assert response["Cache-Control"] == "private, no-store"


@pytest.mark.usefixtures("_estimates_stay_cached")
def test_list__each_page_needs_one_query(
    api: APIClient, submit: Submit, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    mine = [str(submit().pk) for _ in range(5)]
    api.get(LIST)
    seen: list[str] = []
    target = f"{LIST}?page_size=2"
    while target:
        with django_assert_num_queries(1):
            response = api.get(target)
        seen += ids(response)
        target = response.json()["next"]
    assert seen == mine[::-1]


def test_list__filters(api: APIClient, submit: Submit) -> None:
    done = submit(tasks.persist)
    run_operations()
    waiting = submit()
    done.refresh_from_db()
    assert ids(api.get(LIST, {"status": "succeeded"})) == [str(done.pk)]
    assert ids(api.get(LIST, {"kind": "tests.project.echo"})) == [str(waiting.pk)]
    moment = done.created_at.isoformat()
    assert str(done.pk) not in ids(api.get(LIST, {"created_after": moment}))
    assert str(waiting.pk) not in ids(api.get(LIST, {"created_before": moment}))


def test_list__without_deleted_operations(api: APIClient, succeeded: Operation) -> None:
    services.delete(succeeded)
    assert ids(api.get(LIST)) == []


def test_list__without_expired_operations(api: APIClient, succeeded: Operation) -> None:
    assert ids(api.get(LIST)) == [str(succeeded.pk)]
    Operation.objects.update(expires_at=succeeded.created_at)
    assert ids(api.get(LIST)) == []


def test_list__filters_combined(api: APIClient, submit: Submit) -> None:
    done, waiting = submit(tasks.persist), submit()
    Operation.objects.filter(pk=done.pk).update(status="succeeded")
    after = done.created_at - timedelta(seconds=1)
    fields = {"created_after": after.isoformat(), "kind": "tests.persist"}
    assert ids(api.get(LIST, {**fields, "status": "succeeded"})) == [str(done.pk)]
    assert ids(api.get(LIST, {**fields, "status": "pending"})) == []
    assert ids(api.get(LIST, {"created_before": after.isoformat()})) == []
    assert ids(api.get(LIST, {"created_before": "2999-01-01T00:00:00Z"})) == [
        str(waiting.pk),
        str(done.pk),
    ]


@pytest.mark.parametrize("status", list(Status))
def test_list__filters_by_each_status(api: APIClient, submit: Submit, status: Status) -> None:
    keys = {status: str(submit().pk) for status in Status}
    for row_status, pk in keys.items():
        Operation.objects.filter(pk=pk).update(status=row_status)
    assert ids(api.get(LIST, {"status": status.value})) == [keys[status]]


@pytest.mark.parametrize(
    "query", ["status=SUCCESS", "created_after=yesterday", f"kind={'x' * 300}", "status="]
)
def test_list__invalid_filter_is_400(api: APIClient, query: str) -> None:
    response = api.get(f"{LIST}?{query}")
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert response.json()["errors"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("name", ["created_after", "created_before"])
@pytest.mark.parametrize("end", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("offset", ["", "Z", "+14:00", "-12:00", "+00:53:28"])
def test_list__first_and_last_dates(
    api: APIClient, settings: Settings, zone: str, name: str, end: str, offset: str
) -> None:
    """A date out of the range of UTC is an invalid filter, in each time zone."""
    settings.TIME_ZONE = zone
    response = api.get(LIST, {name: end + offset})
    assert response.status_code in {200, 400}
    if (zone, end, offset) == ("Europe/Berlin", "0001-01-01T00:00:00", ""):
        assert (response.status_code, list(response.json()["errors"])) == (400, [name])


@pytest.mark.parametrize("position", ["p=x", "p=%00", "r=1&p=1' OR 1", "o=9999999999"])
def test_list__invalid_cursor_is_404(api: APIClient, position: str) -> None:
    cursor = base64.b64encode(position.encode()).decode()
    response = api.get(LIST, {"cursor": cursor})
    assert response.status_code in {200, 404}
    assert api.get(LIST, {"cursor": "not base64"}).status_code == 404


def test_list__of_an_anonymous_caller_is_401(client_of: Callable[..., APIClient]) -> None:
    assert client_of().get(LIST).status_code == 401
