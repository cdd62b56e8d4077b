"""The stream of events under WSGI, where each client holds a thread."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import clear_script_prefix, set_script_prefix
from pytest_django import Settings
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.testing import run_operations
from async_reply.views import events, streams
from async_reply.waiting import ticker, tickets
from tests.concurrency import in_thread, until, until_waiting
from tests.project import tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]


#: A server with threads for other requests sets this.
THREADS = {"wsgi.multithread": True}


@pytest.fixture
def api(user: User) -> APIClient:
    """A client with a real token: a follow-up request takes its credentials from the fields."""
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    return APIClient(headers=fields, **THREADS)


def url(operation: Operation) -> str:
    return f"/api/operations/{operation.pk}/events/"


def fields(event: bytes) -> dict[str, str]:
    assert event.endswith(b"\n\n")
    return dict(line.split(": ", 1) for line in event.decode().splitlines() if line)


def chunks(response: Any) -> Iterator[bytes]:
    """The parts of the body. Like a server, this closes the response at the end."""
    try:
        yield from response.streaming_content
    finally:
        response.close()


def test_events__come_for_each_change_until_the_end(
    api: APIClient, submit: Callable[..., Operation]
) -> None:
    operation = submit(number=7)
    stream = chunks(api.get(url(operation)))
    first = fields(next(stream))
    assert lifecycle.claim(operation, worker="w1")
    later = [fields(next(stream))]
    lifecycle.beat(operation, progress=40, message="page 4 of 10")
    later.append(fields(next(stream)))
    lifecycle.succeed(operation)
    later += map(fields, stream)
    assert (first["event"], first["id"]) == ("pending", "1")
    assert int(first["retry"]) >= 1000
    assert [(event["event"], event["id"]) for event in later] == [
        ("running", "2"),
        ("progress", "3"),
        ("succeeded", "4"),
    ]
    assert '"progress":40' in later[1]["data"]
    assert not any("retry" in event for event in later)


@pytest.mark.parametrize("last", [Status.CANCELED, Status.SUCCEEDED, Status.FAILED])
def test_event__has_the_status_as_its_name(running: Operation, last: Status) -> None:
    """The name is `progress` if the client knows already that the job runs."""
    statuses = [Status.PENDING, *[Status.RUNNING] * 3, Status.PENDING, Status.RUNNING]
    sent: list[tuple[str, str, bool]] = []
    seen = tickets.Seen()
    for version, status in enumerate([*statuses, Status.CANCELING, last], 1):
        running.status, running.version = status, version
        event, seen = events._event(running, {"result": ""}, seen)
        parsed = fields(event)
        sent.append((parsed["event"], parsed["id"], "retry" in parsed))
    names = ["pending", "running", "progress", "progress", "pending", "running", "canceling", last]
    assert sent == [(name, str(version), version == 1) for version, name in enumerate(names, 1)]


def test_keep_alive__comes_every_30_seconds() -> None:
    """With 15 seconds, comments to 4,000 clients take four per cent of a processor."""
    assert tickets.KEEP_ALIVE_SECONDS == 30


def test_events__headers(api: APIClient, running: Operation) -> None:
    response = api.get(url(running))
    response.close()
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "private, no-store"
    assert response["X-Accel-Buffering"] == "no"


def test_events__data_is_the_document(api: APIClient, succeeded: Operation) -> None:
    (event,) = chunks(api.get(url(succeeded)))
    document = api.get(f"/api/operations/{succeeded.pk}/monitor/").content.decode()
    assert fields(event)["data"] == document


@pytest.mark.parametrize("accept", ["text/event-stream", "image/png", "application/json"])
def test_events__never_406(api: APIClient, succeeded: Operation, accept: str) -> None:
    response = api.get(url(succeeded), headers={"Accept": accept})
    response.close()
    assert response.status_code == 200
    unknown = api.get("/api/operations/0192/events/", headers={"Accept": accept})
    assert (unknown.status_code, unknown["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("last_id", "status"), [("3", 204), ("2", 200), ("", 200), ("x", 200), ("9" * 20, 200)]
)
def test_events__client_that_has_seen_the_end_gets_204(
    api: APIClient, succeeded: Operation, last_id: str, status: int
) -> None:
    response = api.get(url(succeeded), headers={"Last-Event-ID": last_id})
    response.close()
    assert response.status_code == status


def test_events__client_that_comes_back_gets_no_event_twice(
    api: APIClient, running: Operation
) -> None:
    stream = chunks(api.get(url(running), headers={"Last-Event-ID": "2"}))
    assert next(stream) == b":\n"
    lifecycle.succeed(running)
    event = fields(next(stream))
    assert (event["event"], event["id"]) == ("succeeded", "3")
    assert "retry" in event


def test_events__head_answers_the_headers(api: APIClient, running: Operation) -> None:
    response = api.head(url(running))
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    assert response.content == b""


def test_events__of_a_failed_and_of_a_deleted_operation(
    api: APIClient, submit: Callable[..., Operation]
) -> None:
    operation = submit(tasks.refuse)
    run_operations()
    (event,) = chunks(api.get(url(operation)))
    assert fields(event)["event"] == "failed"
    services.delete(Operation.objects.get())
    assert api.get(url(operation)).status_code == 404


@pytest.mark.parametrize("by_session", [True, False])
def test_events__end_before_the_next_after_the_caller_lost_access(
    user: User, running: Operation, by_session: bool
) -> None:
    client = APIClient(**THREADS)
    if by_session:
        client.force_login(user)
    else:
        client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=user)}")
    stream = chunks(client.get(url(running)))
    next(stream)
    User.objects.update(is_active=False)
    lifecycle.succeed(running)
    assert list(stream) == []


def test_events__below_a_prefix(api: APIClient, running: Operation) -> None:
    set_script_prefix("/site/")
    try:
        stream = chunks(api.get(url(running), SCRIPT_NAME="/site"))
        next(stream)
        lifecycle.succeed(running)
        assert [fields(event)["event"] for event in stream] == ["succeeded"]
    finally:
        clear_script_prefix()


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.usefixtures("_multilingual")
def test_events__below_a_language(api: APIClient, running: Operation, language: str) -> None:
    stream = chunks(api.get(f"/{language}{url(running)}"))
    next(stream)
    lifecycle.succeed(running)
    assert [fields(event)["event"] for event in stream] == ["succeeded"]


def test_events__end_when_the_operation_is_removed(api: APIClient, running: Operation) -> None:
    stream = chunks(api.get(url(running)))
    next(stream)
    Operation.objects.filter(pk=running.pk).delete()
    assert list(stream) == []


def test_events__keep_alive_is_no_event(
    api: APIClient, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "KEEP_ALIVE_SECONDS", 0.01)
    stream = chunks(api.get(url(running)))
    next(stream)
    assert next(stream) == b":\n"
    stream.close()  # type: ignore[attr-defined]


def test_events__end_after_the_longest_wait(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "MAX_WAIT": 1}
    assert len([chunk for chunk in chunks(api.get(url(running))) if chunk != b":\n"]) == 1


def test_events__without_a_free_slot_are_the_present_one(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 0}
    (event,) = chunks(api.get(url(running)))
    assert fields(event)["event"] == "running"


def test_events__client_that_leaves_frees_its_slot(
    api: APIClient, running: Operation, settings: Settings
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "WAIT_THREADS": 1}
    for number in range(3):
        stream = chunks(api.get(url(running), headers={"Last-Event-ID": "1"}))
        next(stream)
        with in_thread(lambda s=stream: next(s)):  # type: ignore[misc]
            until_waiting()
            lifecycle.beat(running, progress=number, message="m")
        stream.close()  # type: ignore[attr-defined]
        until(lambda: ticker.ticker.waiting == 0)
    assert streams.MAX_STREAM_SECONDS > 60
