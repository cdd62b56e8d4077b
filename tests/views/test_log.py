"""The log of an operation: pages of JSON, and streams under WSGI."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from async_reply import lifecycle
from async_reply.models import Operation, OperationEvents
from async_reply.protocol import valet_keys
from async_reply.services import event_pages
from tests.concurrency import in_thread, until_waiting
from tests.event_log import AT, event, flush, store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]

#: A server with threads for other requests sets this.
THREADS = {"wsgi.multithread": True}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def api(user: User) -> APIClient:
    """A client with a real token: a follow-up request takes its credentials from the fields."""
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    return APIClient(headers=fields, **THREADS)


def url(operation: Operation) -> str:
    return f"/api/operations/{operation.pk}/log/"


def page(api: APIClient, operation: Operation, after: int = 0, **fields: str) -> Any:
    response = api.get(url(operation), {"after": after}, headers=fields)
    assert response.status_code == 200
    return response.json()


def ids(document: Any) -> list[int]:
    return [event["id"] for event in document["events"]]


def shown(number: int) -> Any:
    return {"id": number, "event": "row", "at": AT, "data": {"number": number}}


def truncated(after: int, through: int) -> Any:
    data = {"after": after, "through": through}
    return {"id": through, "event": "truncated", "at": None, "data": data}


def parsed(body: bytes) -> list[dict[str, Any]]:
    """The server-sent events in the body; comments are left out."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        for block in body.decode().split("\n\n")
    ]
    return [
        {"id": int(block["id"]), "event": block["event"], "data": json.loads(block["data"])}
        for block in blocks
        if block
    ]


def chunks(response: Any) -> Iterator[bytes]:
    """The parts of the body. Like a server, this closes the response at the end."""
    try:
        yield from response.streaming_content
    finally:
        response.close()


def stream(api: APIClient, operation: Operation, last_id: str = "", query: str = "") -> Any:
    fields = {**STREAM, **({"Last-Event-ID": last_id} if last_id else {})}
    return api.get(url(operation) + query, headers=fields)


# -- pages


def test_page__has_the_events_and_the_number_to_go_on_with(
    api: APIClient, running: Operation
) -> None:
    assert page(api, running) == {"events": [], "last": 0, "complete": False}
    flush(running, 2)
    flush(running)
    assert page(api, running) == {
        "events": [shown(1), shown(2), shown(3)],
        "last": 3,
        "complete": False,
    }
    assert ids(page(api, running, after=1)) == [2, 3]
    assert page(api, running, after=3) == {"events": [], "last": 3, "complete": False}


def test_page__after_a_number_that_does_not_exist_goes_on_with_the_next(
    api: APIClient, running: Operation
) -> None:
    flush(running, 2)
    assert page(api, running, after=999) == {"events": [], "last": 2, "complete": False}


def test_page__ends_with_the_outcome(api: APIClient, running: Operation) -> None:
    flush(running, 2)
    lifecycle.succeed(running)
    document = page(api, running)
    assert ids(document) == [1, 2, 3]
    assert (document["last"], document["complete"]) == (3, True)
    outcome = document["events"][-1]
    monitor = api.get(f"/api/operations/{running.pk}/monitor/").json()
    assert outcome == {
        "id": 3,
        "event": "succeeded",
        "at": monitor["finished_at"],
        "data": monitor,
    }
    assert ids(page(api, running, after=2)) == [3]
    for after in (3, 99):
        nothing = page(api, running, after=after)
        assert nothing == {"events": [], "last": 3, "complete": True}


def test_page__leaves_out_private_events_and_counts_them(
    api: APIClient, running: Operation
) -> None:
    flush(running, 5, private={2, 3, 5})
    assert page(api, running) == {"events": [shown(1), shown(4)], "last": 5, "complete": False}
    flush(running, private={6})
    assert page(api, running, after=5) == {"events": [], "last": 6, "complete": False}


def test_page__tells_where_events_were_removed(api: APIClient, running: Operation) -> None:
    """They are missing before the first row, inside a row, between rows, and at the end."""
    Operation.objects.filter(pk=running.pk).update(events=20)
    store(running, [event(3), event(4, is_private=True), event(5), event(9), event(10)])
    store(running, [event(13), event(14)])
    gaps = [truncated(0, 2), shown(3), shown(5), truncated(5, 8), shown(9), shown(10)]
    gaps += [truncated(10, 12), shown(13), shown(14), truncated(14, 20)]
    assert drained(api, running) == gaps
    assert drained(api, running, after=6)[0] == truncated(6, 8)
    lifecycle.succeed(running)
    events = drained(api, running)
    assert events[:-1] == gaps
    assert (events[-1]["id"], events[-1]["event"]) == (21, "succeeded")


def drained(api: APIClient, operation: Operation, after: int = 0) -> list[Any]:
    """The events of page after page, through the number that the operation had."""
    events: list[Any] = []
    end = Operation.objects.values_list("events", flat=True).get(pk=operation.pk)
    while after < end:
        document = page(api, operation, after)
        events += document["events"]
        assert document["last"] > after
        after = document["last"]
    return events


def test_page__has_whole_rows_of_about_64_kib(api: APIClient, running: Operation) -> None:
    for _ in range(4):
        flush(running, 2, size=30_000)
    flush(running, size=event_pages.PAGE_BYTES + 1)
    flush(running)
    assert [ids(page(api, running, after)) for after in (0, 6, 7, 9)] == [
        [1, 2, 3, 4, 5, 6],
        [7, 8, 9],
        [8, 9],
        [10],
    ]
    assert [page(api, running, after)["last"] for after in (0, 6, 9)] == [6, 9, 10]


def test_page__of_a_finished_log_is_complete_when_it_has_the_outcome(
    api: APIClient, running: Operation
) -> None:
    flush(running, 2, size=event_pages.PAGE_BYTES)
    flush(running)
    lifecycle.fail(running, {"code": "x", "message": "x"})
    first, second = page(api, running), page(api, running, after=2)
    assert (ids(first), first["complete"]) == ([1, 2], False)
    assert (ids(second), second["complete"]) == ([3, 4], True)
    assert second["events"][-1]["event"] == "failed"


def test_page__says_when_to_come_back(api: APIClient, running: Operation) -> None:
    """Not while there is more, and not after the end."""
    flush(running, 2, size=event_pages.PAGE_BYTES)
    flush(running)
    fields = [api.get(url(running), {"after": after}).headers for after in (0, 2, 3)]
    assert ["Retry-After" in answer for answer in fields] == [False, True, True]
    assert {answer["Cache-Control"] for answer in fields} == {"private, no-store"}
    lifecycle.succeed(running)
    assert "Retry-After" not in api.get(url(running), {"after": 3}).headers


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "2147483648", "9" * 30, "%00"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_log__malformed_number_is_400(
    api: APIClient, running: Operation, after: str, accept: str
) -> None:
    response = api.get(f"{url(running)}?after={after}", headers={"Accept": accept})
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert list(response.json()["errors"]) == ["after"]


@pytest.mark.parametrize("fields", [{}, STREAM])
def test_log__of_others_of_nobody_and_of_the_past(
    api: APIClient,
    running: Operation,
    stranger: User,
    fields: dict[str, str],
) -> None:
    flush(running)
    unknown = api.get("/api/operations/0192/log/", headers=fields)
    assert (unknown.status_code, unknown["Content-Type"]) == (404, "application/problem+json")
    other = APIClient(headers={"Authorization": f"Token {Token.objects.create(user=stranger)}"})
    assert other.get(url(running), headers=fields).status_code == 404
    assert APIClient().get(url(running), headers=fields).status_code == 401
    lifecycle.succeed(running)
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.update(expires_at=past)
    assert api.get(url(running), headers=fields).status_code == 410


@pytest.mark.parametrize("fields", [{}, STREAM])
def test_log__by_a_valet_key(running: Operation, fields: dict[str, str]) -> None:
    flush(running)
    lifecycle.succeed(running)
    key = valet_keys.make(running.pk, scope="read", seconds=60)
    response = APIClient().get(f"{url(running)}?sig={key}", headers=fields)
    body = b"".join(response) if fields else response.content
    assert response.status_code == 200
    assert b"succeeded" in body
    assert APIClient().get(f"{url(running)}?sig=x", headers=fields).status_code == 404


@pytest.mark.parametrize(
    ("fields", "media_type"), [({}, "application/json"), (STREAM, "text/event-stream")]
)
def test_log__head_answers_the_headers(
    api: APIClient, running: Operation, fields: dict[str, str], media_type: str
) -> None:
    flush(running)
    response = api.head(url(running), headers=fields)
    assert (response.status_code, response["Content-Type"]) == (200, media_type)
    assert response.content == b""


def test_page__takes_a_statement_for_the_rows(
    api: APIClient, running: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """And one each for the token, the operation and the estimate of the next poll."""
    page(api, running)
    with django_assert_num_queries(2) as nothing_new:
        page(api, running)
    flush(running, 3)
    flush(running, 3)
    with django_assert_num_queries(len(nothing_new) + 1):
        page(api, running)


# -- waiting


def test_wait__ends_with_the_next_event(api: APIClient, running: Operation) -> None:
    flush(running)
    with in_thread(lambda: page(api, running, after=1, Prefer="wait=30")) as waited:
        until_waiting()
        lifecycle.beat(running, progress=40, message="page 4 of 10")
        flush(running)
        assert waited.result() == {"events": [shown(2)], "last": 2, "complete": False}


def test_wait__ends_with_the_outcome(api: APIClient, running: Operation) -> None:
    with in_thread(lambda: page(api, running, Prefer="wait=30")) as waited:
        until_waiting()
        lifecycle.succeed(running)
        document = waited.result()
    assert ([event["event"] for event in document["events"]], document["complete"]) == (
        ["succeeded"],
        True,
    )


def test_wait__is_over_at_once_where_there_are_events(api: APIClient, running: Operation) -> None:
    flush(running)
    assert ids(page(api, running, Prefer="wait=30")) == [1]
    lifecycle.succeed(running)
    assert page(api, running, after=2, Prefer="wait=30")["complete"]


def test_wait__in_vain_answers_an_empty_page(api: APIClient, running: Operation) -> None:
    response = api.get(url(running), headers={"Prefer": "wait=0"})
    assert response.json() == {"events": [], "last": 0, "complete": False}
    assert response["Preference-Applied"] == "wait=0"


# -- streams


def test_stream__replays_then_goes_on_live_and_ends_with_the_outcome(
    api: APIClient, running: Operation
) -> None:
    flush(running, 2)
    parts = chunks(stream(api, running))
    first = next(parts)
    assert first.count(b"retry: ") == 1
    assert parsed(first) == [
        {"id": 1, "event": "row", "data": {"number": 1}},
        {"id": 2, "event": "row", "data": {"number": 2}},
    ]
    flush(running)
    assert [event["id"] for event in parsed(next(parts))] == [3]
    lifecycle.beat(running, progress=40, message="page 4 of 10")
    lifecycle.succeed(running)
    (end,) = [parsed(part) for part in parts]
    assert [(event["id"], event["event"]) for event in end] == [(4, "succeeded")]
    assert end[0]["data"] == api.get(f"/api/operations/{running.pk}/monitor/").json()


@pytest.mark.parametrize("last", range(8))
def test_stream__reconnect_at_each_number_repeats_and_misses_nothing(
    api: APIClient, running: Operation, last: int
) -> None:
    flush(running, 3)
    flush(running, 2, private={5})
    flush(running)
    lifecycle.succeed(running)
    response = stream(api, running, last_id=str(last), query="?after=1")
    if last == 7:
        assert (response.status_code, response.content) == (204, b"")
        return
    events = parsed(b"".join(chunks(response)))
    assert [event["id"] for event in events] == [n for n in (1, 2, 3, 4, 6, 7) if n > last]
    assert ids(page(api, running, after=last)) == [event["id"] for event in events]


def test_stream__sends_page_after_page(api: APIClient, running: Operation) -> None:
    for _ in range(5):
        flush(running, 2, size=event_pages.PAGE_BYTES)
    lifecycle.succeed(running)
    parts = [parsed(part) for part in chunks(stream(api, running))]
    assert [[event["id"] for event in part] for part in parts] == [
        [1, 2],
        [3, 4],
        [5, 6],
        [7, 8],
        [9, 10, 11],
    ]


def test_stream__without_threads_sends_all_that_there_is(user: User, running: Operation) -> None:
    fields = {"Authorization": f"Token {Token.objects.create(user=user)}"}
    api = APIClient(headers=fields)
    for _ in range(2):
        flush(running, size=event_pages.PAGE_BYTES)
    assert [e["id"] for e in parsed(b"".join(chunks(stream(api, running))))] == [1, 2]


def test_stream__after_counts_without_last_event_id(api: APIClient, running: Operation) -> None:
    flush(running, 3)
    parts = chunks(stream(api, running, query="?after=2"))
    assert [event["id"] for event in parsed(next(parts))] == [3]


def test_stream__first_event_has_retry_even_after_a_wait(
    api: APIClient, running: Operation
) -> None:
    parts = chunks(stream(api, running))
    assert next(parts) == b":\n"
    flush(running, private={1})
    flush(running)
    part = next(part for part in parts if part)
    assert b"retry: " in part
    assert [event["id"] for event in parsed(part)] == [2]


def test_stream__tells_where_events_were_removed(api: APIClient, running: Operation) -> None:
    Operation.objects.filter(pk=running.pk).update(events=4)
    store(running, [event(3), event(4)])
    lifecycle.succeed(running)
    events = parsed(b"".join(chunks(stream(api, running))))
    assert events[0] == {"id": 2, "event": "truncated", "data": {"after": 0, "through": 2}}
    assert [event["id"] for event in events] == [2, 3, 4, 5]


@pytest.mark.parametrize("data", [None, 0, "", "a\nb\u2028c", [], {"ä": 1.5}])
def test_stream__data_is_one_line_of_json(api: APIClient, running: Operation, data: Any) -> None:
    Operation.objects.filter(pk=running.pk).update(events=1)
    store(running, [{"id": 1, "event": "x", "at": AT, "data": data}])
    lifecycle.succeed(running)
    events = parsed(b"".join(chunks(stream(api, running))))
    assert events[0]["data"] == data == page(api, running)["events"][0]["data"]


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("Text/Event-Stream", True),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_log__streams_to_clients_that_name_its_media_type(
    api: APIClient, succeeded: Operation, accept: str, is_stream: bool
) -> None:
    response = api.get(url(succeeded), headers={"Accept": accept})
    response.close()
    assert (response["Content-Type"] == "text/event-stream") is is_stream


def test_log__is_removed_with_its_operation(
    api: APIClient, submit: Callable[..., Operation], running: Operation
) -> None:
    flush(running)
    Operation.objects.filter(pk=running.pk).delete()
    assert not OperationEvents.objects.exists()
