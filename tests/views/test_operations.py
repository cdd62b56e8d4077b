"""Status, monitor, result, cancel and delete of one operation, over HTTP."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.urls import clear_script_prefix, set_script_prefix
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.database.clock import after
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation, OperationFile, OperationStep
from async_reply.services import retention
from async_reply.status import FINAL, Status
from async_reply.testing import run_operations
from tests.project import tasks

pytestmark = pytest.mark.django_db

Submit = Callable[..., Operation]


def url(operation: Operation, name: str = "") -> str:
    return f"/api/operations/{operation.pk}/{name}"


def test_status__unfinished(api: APIClient, running: Operation) -> None:
    lifecycle.beat(running, progress=40, message="page 4 of 10")
    response = api.get(url(running))
    body = response.json()
    assert response.status_code == 200
    assert response["Cache-Control"] == "private, no-cache"
    assert response["ETag"] == 'W/"3"'
    assert int(response["Retry-After"]) >= 1
    assert (body["status"], body["progress"], body["message"]) == ("running", 40, "page 4 of 10")
    assert body["eta_seconds"] >= 0
    assert body["attempt"] == 1
    assert "resourceLocation" not in body
    assert "error" not in body


def test_status__finished_redirects_with_the_document(api: APIClient, succeeded: Operation) -> None:
    response = api.get(url(succeeded))
    result = f"http://testserver{url(succeeded, 'result/')}"
    assert (response.status_code, response["Location"]) == (302, result)
    assert "Retry-After" not in response
    assert response["Cache-Control"] == "private, no-store"
    assert response.json()["resourceLocation"] == result


@pytest.mark.parametrize("status", sorted(FINAL))
def test_status__of_each_final_status_redirects(
    api: APIClient, submit: Submit, status: Status
) -> None:
    operation = finished(submit, status)
    assert api.get(url(operation)).status_code == 302


@pytest.mark.parametrize("name", ["", "monitor/"])
def test_poll__is_304_when_the_client_has_the_version(
    api: APIClient, running: Operation, name: str
) -> None:
    tag = api.get(url(running, name))["ETag"]
    unchanged = api.get(url(running, name), headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert int(unchanged["Retry-After"]) >= 1
    lifecycle.beat(running, progress=50, message="")
    changed = api.get(url(running, name), headers={"If-None-Match": tag})
    assert changed.status_code == 200


@pytest.mark.parametrize("status", sorted(FINAL))
def test_monitor__never_redirects(api: APIClient, submit: Submit, status: Status) -> None:
    operation = finished(submit, status)
    response = api.get(url(operation, "monitor/"))
    body = response.json()
    assert (response.status_code, body["status"]) == (200, status.value)
    assert "Retry-After" not in response
    assert ("resourceLocation" in body) == (status == Status.SUCCEEDED)
    assert ("error" in body) == (status != Status.SUCCEEDED)


@pytest.mark.usefixtures("_estimates_stay_cached")
@pytest.mark.parametrize("name", ["", "monitor/", "result/"])
@pytest.mark.parametrize("state", [*Status, "with steps", "sleeping"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_poll__needs_one_query(
    api: APIClient,
    submit: Submit,
    django_assert_num_queries: DjangoAssertNumQueries,
    name: str,
    state: str,
    method: str,
) -> None:
    operation = finished(submit, Status(state)) if state in FINAL else submit()
    if state in ("running", "canceling", "with steps"):
        lifecycle.claim(operation, worker="w")
    if state == "canceling":
        lifecycle.cancel(operation)
    if state == "with steps":
        Operation.objects.update(steps=2, earlier_seconds=7.0, progress=40)
    if state == "sleeping":
        Operation.objects.update(pause=OperationStep.Sort.SLEEP, available_at=after(60))
    api.get(url(operation, name))
    with django_assert_num_queries(1):
        getattr(api, method)(url(operation, name))


def test_result__unfinished_is_202(api: APIClient, running: Operation) -> None:
    response = api.get(url(running, "result/"))
    assert response.status_code == 202
    assert response["Location"] == f"http://testserver{url(running, 'result/')}"
    assert int(response["Retry-After"]) >= 1


def test_result__json(api: APIClient, succeeded: Operation) -> None:
    response = api.get(url(succeeded, "result/"))
    assert (response.status_code, response.json()) == (200, {"number": 7})
    assert "Expires" in response
    assert "Retry-After" not in response


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "*/*"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_result__of_a_job_that_returns_none_is_204(
    api: APIClient, submit: Submit, method: str, accept: str
) -> None:
    operation = submit(tasks.persist)
    run_operations()
    response = getattr(api, method)(url(operation, "result/"), headers={"Accept": accept})
    assert response.status_code == 204
    assert (response.content, response.get("Content-Type")) == (b"", None)


def test_result__of_an_eager_job_that_returns_none_is_204(
    api: APIClient, settings: Settings
) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True
    operation = Operation.objects.get(pk=api.post("/persistent/", {}).json()["id"])
    run_operations()
    assert api.get(url(operation, "result/")).status_code == 204


def test_result__file_streams_and_ignores_accept(api: APIClient, submit: Submit) -> None:
    operation = submit(tasks.export)
    run_operations()
    response = api.get(url(operation, "result/"), headers={"Accept": "text/csv"})
    assert response.getvalue() == b"a;b\n1;2\n"
    assert response["Content-Type"] == "text/csv"
    assert response["Content-Length"] == "8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment; filename*=utf-8''%C3%9Cbung_1")


def test_result__url_of_a_created_resource_is_made_for_each_request(
    api: APIClient, submit: Submit
) -> None:
    operation = submit(tasks.create)
    run_operations()
    set_script_prefix("/prefix/")
    try:
        response = api.get(url(operation, "result/"))
    finally:
        clear_script_prefix()
    assert (response.status_code, response["Location"]) == (
        302,
        "http://testserver/prefix/things/7/",
    )


def test_result__redirects_to_an_allowed_host(
    api: APIClient, submit: Submit, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"REDIRECT_HOSTS": ["files.example.org"]}
    operation = submit(tasks.forward)
    run_operations()
    response = api.get(url(operation, "result/"))
    assert (response.status_code, response["Location"]) == (
        302,
        "https://files.example.org/report.pdf",
    )


def test_result__failure_has_the_text_of_the_job(api: APIClient, submit: Submit) -> None:
    operation = submit(tasks.refuse)
    run_operations()
    response = api.get(url(operation, "result/"))
    assert response.json() == {
        "code": "year-not-over",
        "message": "The year is not over.",
        "type": "urn:problem-type:async-reply/operation-failed",
        "title": "The operation failed",
        "status": 422,
        "detail": "The year is not over.",
    }
    assert (response.status_code, response["Content-Type"]) == (422, "application/problem+json")


def test_result__failure_does_not_show_the_server_s_exception(
    api: APIClient, submit: Submit
) -> None:
    operation = submit(tasks.break_down)
    run_operations()
    answers = [api.get(url(operation, name)) for name in ("", "monitor/", "result/")]
    assert [answer.status_code for answer in answers] == [302, 200, 409]
    for answer in answers:
        assert "secret" not in answer.content.decode()
        assert "ZeroDivision" not in answer.content.decode()


def test_result__canceled_is_409(api: APIClient, submit: Submit) -> None:
    operation = finished(submit, Status.CANCELED)
    response = api.get(url(operation, "result/"))
    assert response.status_code == 409
    assert response.json()["type"].endswith("/operation-canceled")


def test_cancel__pending_is_canceled_at_once(api: APIClient, submit: Submit) -> None:
    operation = submit()
    for _ in range(2):
        response = api.post(url(operation, "cancel/"))
        assert (response.status_code, response.json()["status"]) == (200, "canceled")
    assert run_operations() == []


def test_cancel__running_is_asked_to_stop(api: APIClient, running: Operation) -> None:
    for _ in range(2):
        response = api.post(url(running, "cancel/"))
        assert (response.status_code, response.json()["status"]) == (202, "canceling")
        assert int(response["Retry-After"]) >= 1
    assert lifecycle.end_canceled(running)
    assert api.post(url(running, "cancel/")).status_code == 200


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_cancel__finished_is_409(api: APIClient, submit: Submit, status: Status) -> None:
    response = api.post(url(finished(submit, status), "cancel/"))
    assert response.status_code == 409
    assert response.json()["type"].endswith("/operation-finished")


def test_cancel__kind_that_cannot_be_canceled_is_409(api: APIClient, submit: Submit) -> None:
    operation = submit(tasks.persist)
    lifecycle.claim(operation, worker="w")
    response = api.post(url(operation, "cancel/"))
    assert response.status_code == 409
    assert response.json()["type"].endswith("/operation-not-cancelable")
    assert "cancel" not in api.get(url(operation)).json()["links"]


@pytest.mark.parametrize("name", ["", "result/"])
def test_delete__unfinished_is_canceled_and_not_deleted(
    api: APIClient, running: Operation, name: str
) -> None:
    path = url(running, name)
    assert [api.delete(path).status_code for _ in range(3)] == [202, 202, 202]
    lifecycle.end_canceled(running)
    assert [api.delete(path).status_code for _ in range(2)] == [200, 200]
    assert api.get(url(running)).status_code == 302


@pytest.mark.parametrize("name", ["", "result/"])
def test_delete__finished_deletes_result_and_files(
    api: APIClient, submit: Submit, name: str
) -> None:
    operation = submit(tasks.export)
    run_operations()
    assert api.delete(url(operation, name)).status_code == 204
    for end in ("", "monitor/", "result/"):
        assert api.get(url(operation, end)).status_code == 404
    assert api.delete(url(operation, name)).status_code == 404
    assert not OperationFile.objects.exists()
    assert Operation.objects.get().input == {}


def test_expired__is_410_then_404(api: APIClient, succeeded: Operation) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.update(expires_at=past, purge_at=past)
    response = api.get(url(succeeded, "result/"))
    assert (response.status_code, response["Content-Type"]) == (410, "application/problem+json")
    assert retention.purge() == 1
    assert api.get(url(succeeded)).status_code == 410
    Operation.objects.update(purge_at=past)
    assert retention.purge() == 1
    assert api.get(url(succeeded)).status_code == 404


@pytest.mark.parametrize("name", ["", "monitor/", "result/"])
@pytest.mark.parametrize("method", ["get", "head", "options", "put", "patch", "delete", "post"])
def test_id__unknown_malformed_and_of_others_get_equal_answers(
    stranger: AbstractBaseUser,
    client_of: Callable[..., APIClient],
    running: Operation,
    name: str,
    method: str,
) -> None:
    client = client_of(stranger)
    ids = [str(running.pk), str(uuid7()), "not-an-id", "%00"]
    answers = [getattr(client, method)(f"/api/operations/{pk}/{name}") for pk in ids]
    assert len({(a.status_code, a.content, *sorted(a.items())) for a in answers}) == 1
    assert answers[0].status_code in {404, 405, 200}
    running.refresh_from_db()
    assert running.status == Status.RUNNING


def test_cancel__operation_of_others_is_404(
    stranger: AbstractBaseUser, client_of: Callable[..., APIClient], running: Operation
) -> None:
    assert client_of(stranger).post(url(running, "cancel/")).status_code == 404
    running.refresh_from_db()
    assert running.status == Status.RUNNING


@pytest.mark.parametrize("name", ["", "monitor/", "result/", "cancel/"])
def test_anonymous__is_401_for_every_id(
    client_of: Callable[..., APIClient], running: Operation, name: str
) -> None:
    client = client_of()
    ids = [str(running.pk), str(uuid7()), "not-an-id"]
    answers = [client.get(f"/api/operations/{pk}/{name}") for pk in ids]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize("accept", ["text/event-stream", "application/problem+json", "image/png"])
@pytest.mark.parametrize("name", ["", "monitor/", "result/"])
def test_accept__is_never_406(api: APIClient, running: Operation, name: str, accept: str) -> None:
    response = api.get(url(running, name), headers={"Accept": accept})
    assert response.status_code in {200, 202}
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", ["", "monitor/", "result/"])
def test_format__unknown_one_is_ignored(api: APIClient, running: Operation, name: str) -> None:
    response = api.get(url(running, name), {"format": "csv"})
    assert response.status_code in {200, 202}
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", ["", "monitor/", "result/"])
def test_query__with_too_many_parameters_is_a_problem(
    api: APIClient, running: Operation, settings: Settings, name: str
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 2
    response = api.get(url(running, name), {"a": 1, "b": 2, "c": 3})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")


def test_accept__problem_is_html_in_a_browser(api: APIClient) -> None:
    response = api.get(f"/api/operations/{uuid7()}/", headers={"Accept": "text/html"})
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")


def test_head__has_the_headers_of_get(api: APIClient, running: Operation) -> None:
    get, head = api.get(url(running)), api.head(url(running))
    assert head.status_code == 200
    assert (head["ETag"], head["Retry-After"]) == (get["ETag"], get["Retry-After"])
    assert head.content == b""


def test_poll_rate__more_polls_are_429_with_retry_after(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"POLL_RATE": "2/min"}
    answers = [api.get(url(running)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1]["Retry-After"]) >= 1


def test_throttles__of_the_project_do_not_count_polls(
    api: APIClient, settings: Settings, running: Operation
) -> None:
    settings.REST_FRAMEWORK = {
        **settings.REST_FRAMEWORK,
        "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "1/min"},
    }
    assert [api.get(url(running)).status_code for _ in range(3)] == [200, 200, 200]


def test_access__of_a_tenant(
    client_of: Callable[..., APIClient], user: Any, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"ACCESS": "tests.project.access.TenantAccess"}
    client = client_of(user)
    accepted = client.post("/echoes/", {}, headers={"X-Tenant": "a"})
    assert Operation.objects.get().owner == "tenant:a"
    assert client.get(accepted["Location"], headers={"X-Tenant": "a"}).status_code == 200
    assert client.get(accepted["Location"], headers={"X-Tenant": "b"}).status_code == 404


def test_namespace__of_the_project(api: APIClient, settings: Settings) -> None:
    settings.ASYNC_REPLY = {"URL_NAMESPACE": "second"}
    response = api.post("/echoes/", {})
    assert response["Location"].startswith("http://testserver/v2/operations/")
    assert api.get(response["Location"]).status_code == 200


def finished(submit: Submit, status: Status) -> Operation:
    """An operation with this final status."""
    kinds = {Status.SUCCEEDED: tasks.echo, Status.FAILED: tasks.refuse, Status.CANCELED: tasks.echo}
    operation = submit(kinds[status])
    if status == Status.CANCELED:
        services.cancel(operation)
    run_operations()
    operation.refresh_from_db()
    assert operation.status == status
    return operation
