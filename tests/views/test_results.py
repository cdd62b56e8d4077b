"""The result URL: failures, resources that the job made, and redirects."""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.urls import path
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.test import APIClient

from async_reply import lifecycle
from async_reply.attempts import failures
from async_reply.attempts.results import JobResult
from async_reply.exceptions import OperationFailed
from async_reply.models import Operation, OperationAttempt, OperationResult
from async_reply.tasks import operation_task
from async_reply.testing import run_operations
from async_reply.views import LongRunningOperationView
from tests.project import tasks, urls

pytestmark = pytest.mark.django_db

Submit = Callable[..., Operation]
PROBLEM = "application/problem+json"
#: 4xx that a job cannot choose: clients would log in, retry or forget the operation.
EXCLUDED = {401, 404, 405, 406, 408, 410, 425, 429}


def url(operation: Operation, end: str = "result/") -> str:
    return f"/api/operations/{operation.pk}/{end}"


class StatusException(APIException):
    def __init__(self, status: int) -> None:
        super().__init__("No.")
        self.status_code = status


def errors_with(status: int) -> list[BaseException]:
    """The exceptions by which a job can choose this status."""
    errors: list[BaseException] = [StatusException(status)]
    if status not in EXCLUDED and 400 <= status < 500:
        errors.append(OperationFailed("No.", status_code=status))
    return errors


@pytest.mark.parametrize("status", [200, 302, *range(400, 500), 500, 502, 503, 504, 599])
def test_failure__has_the_job_s_own_4xx_or_409(api: APIClient, submit: Submit, status: int) -> None:
    expected = status if 400 <= status < 500 and status not in EXCLUDED else 409
    for error in errors_with(status):
        operation = submit()
        assert lifecycle.claim(operation, worker="w1")
        assert lifecycle.fail(
            operation, failures.explain(tasks.echo.kind, error, operation).problem
        )
        response = api.get(url(operation))
        assert (response.status_code, response["Content-Type"]) == (expected, PROBLEM)
        assert (response.json()["status"], response.json()["detail"]) == (expected, "No.")
        assert api.get(url(operation, "monitor/")).json()["error"] == response.json()
        assert "Retry-After" not in response


@operation_task(name="tests.check")
def check(operation: Any, *, rows: list[Any]) -> None:
    rows_serializer = RowSerializer(data=rows, many=True)
    rows_serializer.is_valid(raise_exception=True)


class RowSerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField(min_value=1)


class RowsView(LongRunningOperationView):
    task = check

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        return RowSerializer(*args, many=True, **kwargs)


@pytest.mark.parametrize("rows", [[{"amount": 0}, {}], [{"amount": "x"}], ["x"]])
def test_failure__has_field_errors_like_those_of_a_submit(
    api: APIClient, submit: Submit, settings: Settings, rows: list[Any]
) -> None:
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": [*urls.urlpatterns, ROWS]})
    refused = api.post("/rows/", rows, format="json")
    operation = submit(check, rows=rows)
    run_operations()
    failed = api.get(url(operation))
    assert (failed.status_code, failed["Content-Type"]) == (400, PROBLEM)
    assert failed.json()["errors"] == refused.json()["errors"]
    assert failed.json()["detail"] == refused.json()["detail"]
    document = api.get(url(operation, "monitor/")).json()
    assert document["error"] == failed.json()
    assert api.get("/api/operations/").json()["results"][0]["error"] == failed.json()


ROWS = path("rows/", RowsView.as_view())


@operation_task(name="tests.overdraw")
def overdraw(operation: Any) -> None:
    members = {"balance": 30, "accounts": [{"id": 7, "at": date(2026, 11, 23)}]}
    raise OperationFailed("Too much.", code="overdrawn", status_code=403, members=members)


def test_failure__has_the_job_s_own_members(api: APIClient, submit: Submit) -> None:
    operation = submit(overdraw)
    run_operations()
    failed = api.get(url(operation))
    assert failed.status_code == 403
    assert list(failed.json()) == [
        *("code", "message", "type", "title", "status", "detail"),
        *sorted(("balance", "accounts"), key=list(failed.json()).index),
    ]
    assert failed.json()["balance"] == 30
    assert failed.json()["accounts"] == [{"id": 7, "at": "2026-11-23"}]


@operation_task(name="tests.misspell")
def misspell(operation: Any, *, route: str) -> JobResult:
    created: JobResult = operation.created(route, pk=7)
    return created


@pytest.mark.parametrize("route", ["no-such-route", "thing", "no-such:thing"])
def test_created__at_an_unknown_url_fails_with_the_reason(
    api: APIClient, submit: Submit, route: str
) -> None:
    operation = submit(misspell, route=route)
    run_operations()
    response = api.get(url(operation))
    assert (response.status_code, response.json()["code"]) == (409, "invalid-result")
    assert route not in response.content.decode()
    assert f"'{route.rpartition(':')[0] or route}'" in OperationAttempt.objects.get().traceback


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("route", ["renamed-since", "no-such-namespace:thing", "thing"])
def test_created__at_a_url_that_was_removed_is_409_and_logged(
    api: APIClient, submit: Submit, caplog: pytest.LogCaptureFixture, route: str, method: str
) -> None:
    operation = submit(tasks.create)
    run_operations()
    args = [7] if route == "thing" else []
    OperationResult.objects.update(location={"route": route, "args": args, "kwargs": {"number": 7}})
    response = getattr(api, method)(url(operation))
    assert (response.status_code, response["Content-Type"]) == (409, PROBLEM)
    assert not {"Retry-After", "Location"} & set(response.headers)
    assert {"Expires", "Link"} < set(response.headers)
    if method == "get":
        assert response.json()["type"] == "urn:problem-type:async-reply/result-unreachable"
        assert route not in response.content.decode()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(operation.pk) in record.getMessage()
    assert "Traceback" in caplog.text
    assert api.get(url(operation, "")).status_code == 302


@pytest.mark.parametrize("status", [302, 303])
@pytest.mark.parametrize("task", [tasks.create, tasks.forward, tasks.echo])
def test_redirect__has_the_status_of_the_view(
    api: APIClient, submit: Submit, settings: Settings, task: Any, status: int
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["files.example.org"]}
    operation = submit(task)
    Operation.objects.update(reply={"redirect_status": status})
    run_operations()
    poll = api.get(url(operation, ""))
    result = api.get(url(operation))
    assert poll.status_code == status
    assert result.status_code == (200 if task is tasks.echo else status)
    assert not {"Retry-After"} & (set(poll.headers) | set(result.headers))


def test_redirect__to_a_host_that_was_removed_from_the_setting_is_409(
    api: APIClient, submit: Submit, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["files.example.org"]}
    operation = submit(tasks.forward)
    run_operations()
    assert api.get(url(operation)).status_code == 302
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": []}
    response = api.get(url(operation))
    assert response.status_code == 409
    assert response.json()["type"] == "urn:problem-type:async-reply/result-unreachable"
    assert "files.example.org" not in response.content.decode()


def test_redirect__to_a_host_that_is_not_allowed_fails(
    api: APIClient, submit: Submit, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["example.org"]}
    operation = submit(tasks.forward)
    run_operations()
    response = api.get(url(operation))
    assert (response.status_code, response.json()["code"]) == (409, "internal-error")
    assert "files.example.org" not in response.content.decode()
