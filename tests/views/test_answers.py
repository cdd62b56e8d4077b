"""Each URL in each situation of an operation: exact status, header fields and keys of the body."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils.http import http_date
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import cors, lifecycle, services
from async_reply.attempts import results
from async_reply.models import Operation
from async_reply.services import retention
from async_reply.testing import run_operations
from tests.hostile.situations import SITUATIONS, everything, finished
from tests.project import tasks

pytestmark = pytest.mark.django_db

#: Method and end of the URL.
READS = {"S": ("GET", ""), "M": ("GET", "monitor/"), "R": ("GET", "result/")}
WRITES = {
    "cancel": ("POST", "cancel/"),
    "delete": ("DELETE", ""),
    "delete R": ("DELETE", "result/"),
}
EVENTS = {"events": ("GET", "events/"), "log": ("GET", "log/")}
ASKS = READS | WRITES | EVENTS

STATUSES: dict[str, dict[str, int]] = {
    # The log is read like the events.
    situation: dict(zip(ASKS, (*statuses, statuses[-1]), strict=True))
    for situation, statuses in {
        #            S    M    R    cancel  DELETE S, R  events
        "pending": (200, 200, 202, 200, 200, 200, 200),
        "running": (200, 200, 202, 202, 202, 202, 200),
        "canceling": (200, 200, 202, 202, 202, 202, 200),
        "canceled": (302, 200, 409, 200, 200, 200, 200),
        "value": (302, 200, 200, 409, 204, 204, 200),
        "file": (302, 200, 200, 409, 204, 204, 200),
        "created": (302, 200, 302, 409, 204, 204, 200),
        "elsewhere": (302, 200, 302, 409, 204, 204, 200),
        "failed": (302, 200, 422, 409, 204, 204, 200),
        "expired": (410, 410, 410, 410, 410, 410, 410),
        "purged": (410, 410, 410, 410, 410, 410, 410),
        "deleted": (404, 404, 404, 404, 404, 404, 404),
    }.items()
}
UNFINISHED = {"pending", "running", "canceling"}
GONE = {"expired", "purged", "deleted"}
ALLOW = {
    "": "GET, DELETE, HEAD, OPTIONS",
    "monitor/": "GET, HEAD, OPTIONS",
    "result/": "GET, DELETE, HEAD, OPTIONS",
    "cancel/": "POST, OPTIONS",
    "events/": "GET, HEAD, OPTIONS",
    "log/": "GET, HEAD, OPTIONS",
}
LINKS = {"self": "", "monitor": "monitor/", "result": "result/", "events": "events/", "log": "log/"}
LINKS |= {"cancel": "cancel/"}


def links(situation: str) -> list[tuple[str, str]]:
    """Relation and end of the URL. A finished operation has no link to cancel it."""
    return [link for link in LINKS.items() if link[0] != "cancel" or situation in UNFINISHED]


ERROR = ["code", "message", "type", "title", "status", "detail"]
RECEIPT = ["id", "kind", "status", "created_at", "links"]
DOCUMENT = [
    *("id", "kind", "status", "created_at", "started_at", "updated_at", "finished_at"),
    *("expires_at", "progress", "message", "eta_seconds", "attempt", "links"),
]
#: Fields that Django's middleware adds to each answer.
MIDDLEWARE_FIELDS = {
    "X-Frame-Options",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Length",
}
MIDDLEWARE_FIELDS |= {"Content-Length", "Cross-Origin-Opener-Policy"}
ACCEPTS = ["text/csv", "text/event-stream", "application/problem+json", "image/png", "q=x;/"]

situations = pytest.mark.parametrize("operation", STATUSES, indirect=True)


@pytest.fixture(autouse=True)
def _elsewhere(settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "REDIRECT_HOSTS": ["files.example.org"]}


@pytest.fixture
def operation(request: pytest.FixtureRequest, user: AbstractBaseUser) -> Operation:
    """An operation of `user`'s in the situation that the test is parametrised with."""
    owner = str(user.pk)
    if request.param == "elsewhere":
        operation = finished(owner, tasks.forward)
    elif request.param == "purged":
        operation = SITUATIONS["expired"](owner)
        Operation.objects.update(purge_at=operation.created_at)
        assert retention.purge() == 1
    else:
        operation = SITUATIONS[request.param](owner)
    operation.refresh_from_db()
    return operation


@pytest.fixture
def situation(request: pytest.FixtureRequest) -> str:
    name: str = request.node.callspec.params["operation"]
    return name


def url(operation: Operation, end: str = "") -> str:
    return f"http://testserver/api/operations/{operation.pk}/{end}"


def body_of(response: Any) -> bytes:
    content: bytes = b"".join(response) if response.streaming else response.content
    return content


def field_names(response: Any) -> set[str]:
    return set(response.headers) - MIDDLEWARE_FIELDS


def expected_fields(ask: str, status: int, situation: str) -> set[str]:
    """The names of all fields of an answer about an operation."""
    fields = {"Allow", "Cache-Control", "Vary"}
    if status != 204:
        fields.add("Content-Type")
    if status in {404, 410} or (ask in WRITES and status in {409, 204}):
        return fields
    fields.add("Link")
    if ask == "events":
        return fields | {"X-Accel-Buffering"}
    # A pending operation that is canceled has finished in the answer already.
    if situation in UNFINISHED and not (ask in WRITES and status == 200):
        fields.add("Retry-After")
    if ask in {"S", "M"} and status == 200:
        fields.add("ETag")
    if status == 302 or (ask, status) == ("R", 202):
        fields.add("Location")
    if situation in UNFINISHED or ask not in {"S", "M", "R", "log"}:
        return fields
    fields.add("Expires")
    return of_result(fields, situation) if ask == "R" else fields


def of_result(fields: set[str], situation: str) -> set[str]:
    """The names of the fields of a result, from those of every finished operation."""
    if situation == "file":
        return fields | {"ETag", "Accept-Ranges", "Content-Disposition"}
    return fields - {"Content-Type"} if situation in {"created", "elsewhere"} else fields


@situations
@pytest.mark.parametrize("ask", ASKS)
def test_answer__status_and_fields(
    api: APIClient, operation: Operation, situation: str, ask: str
) -> None:
    method, end = ASKS[ask]
    response = api.generic(method, url(operation, end))
    status = STATUSES[situation][ask]
    body_of(response)
    names = field_names(response)
    if situation in {"created", "elsewhere"} and ask == "R":
        names -= {"Content-Type"}  # Django's redirects have it, although their body is empty
    assert (response.status_code, names) == (status, expected_fields(ask, status, situation))
    assert response["Vary"] == "Accept, Authorization, Cookie, Prefer"
    assert response["Allow"] == ALLOW[end]
    polled = ask in {"S", "M"} and status == 200
    assert response["Cache-Control"] == f"private, no-{'cache' if polled else 'store'}"
    if polled:
        assert response["ETag"] == f'W/"{operation.version}"'
    if "Retry-After" in response:
        assert re.fullmatch("[1-9][0-9]*", response["Retry-After"])
    if "Link" in response:
        monitor, result = url(operation), url(operation, "result/")
        relation = "urn:link-relation:async-reply/result"
        assert response["Link"] == f'<{monitor}>; rel="monitor", <{result}>; rel="{relation}"'
    if "Expires" in response:
        assert operation.expires_at is not None
        assert response["Expires"] == http_date(operation.expires_at.timestamp())
    if status >= 400:
        assert response["Content-Type"] == "application/problem+json"


@situations
def test_answer__locations(api: APIClient, operation: Operation, situation: str) -> None:
    own = url(operation, "result/")
    elsewhere = {
        "created": "http://testserver/things/7/",
        "elsewhere": "https://files.example.org/report.pdf",
    }
    for ask, expected in (("S", own), ("R", elsewhere.get(situation, own))):
        response = api.get(url(operation, ASKS[ask][1]))
        body_of(response)
        assert response.get("Location", expected) == expected


@situations
@pytest.mark.parametrize("ask", [*READS, *EVENTS])
def test_head__equals_get_without_the_body(api: APIClient, operation: Operation, ask: str) -> None:
    get, head = (api.generic(method, url(operation, ASKS[ask][1])) for method in ("GET", "HEAD"))
    body_of(get)
    assert (head.status_code, body_of(head)) == (get.status_code, b"")
    assert {name: head[name] for name in field_names(head)} == {
        name: get[name] for name in field_names(get)
    }


@situations
@pytest.mark.parametrize("end", ALLOW)
def test_options__are_the_same_for_every_operation(
    api: APIClient, operation: Operation, end: str
) -> None:
    response = api.options(url(operation, end))
    unknown = api.options(f"/api/operations/odd/{end}")
    assert (response.status_code, response["Allow"]) == (200, ALLOW[end])
    assert field_names(response) == {"Allow", "Cache-Control", "Content-Type", "Vary"}
    assert response["Cache-Control"] == "private, no-store"
    assert (response.content, sorted(response.items())) == (
        unknown.content,
        sorted(unknown.items()),
    )


@situations
@pytest.mark.parametrize("ask", ["S", "M"])
def test_304__when_the_client_has_the_version(
    api: APIClient, operation: Operation, situation: str, ask: str
) -> None:
    fields = {"If-None-Match": f'W/"{operation.version}"'}
    response = api.get(url(operation, ASKS[ask][1]), headers=fields)
    if STATUSES[situation][ask] != 200:
        assert response.status_code == STATUSES[situation][ask]
        return
    names = {"Allow", "Cache-Control", "ETag", "Link", "Vary"}
    names.add("Retry-After" if situation in UNFINISHED else "Expires")
    assert (response.status_code, response.content, field_names(response)) == (304, b"", names)
    assert response["Cache-Control"] == "private, no-cache"


def documents(api: APIClient, operation: Operation, situation: str) -> Iterator[dict[str, Any]]:
    """The document from each answer that contains it."""
    yield api.get(url(operation)).json()
    yield api.get(url(operation, "monitor/")).json()
    if situation in UNFINISHED:
        yield api.get(url(operation, "result/")).json()
    (listed,) = api.get("/api/operations/").json()["results"]
    yield listed
    if situation not in UNFINISHED:
        yield api.get(url(operation, "log/")).json()["events"][-1]["data"]
    data = re.search(rb"^data: (.*)$", body_of(api.get(url(operation, "events/"))), re.MULTILINE)
    assert data is not None
    yield json.loads(data[1])


@pytest.mark.parametrize(
    "operation", [name for name in STATUSES if name not in GONE], indirect=True
)
def test_document__keys(api: APIClient, operation: Operation, situation: str) -> None:
    optional: list[str] = []
    if situation == "pending":
        optional = ["queue_position"]
    elif situation in {"failed", "canceled"}:
        optional = ["error"]
    elif situation not in UNFINISHED:
        optional = ["resourceLocation"]
    for document in documents(api, operation, situation):
        assert list(document) == [*DOCUMENT, *optional]
        assert document["status"] == WORDS.get(situation, "succeeded")
        assert document["links"] == {name: url(operation, end) for name, end in links(situation)}
        assert (document["finished_at"] is None) == (situation in UNFINISHED)
        result = document["links"]["result"]
        assert document.get("resourceLocation", result) == result
        if "error" in document:
            error = document["error"]
            assert list(error) == ERROR
            assert (error["message"], error["title"]) == (error["detail"], TITLES[situation])


#: The exact statuses. With "cancelled" or "SUCCESS" some clients would poll for ever.
WORDS = {
    word: word for word in ("pending", "running", "canceling", "succeeded", "failed", "canceled")
}
TITLES = {"failed": "The operation failed", "canceled": "The operation was canceled"}


def test_document__error_of_a_canceled_operation(api: APIClient, user: AbstractBaseUser) -> None:
    operation = SITUATIONS["canceled"](str(user.pk))
    error = api.get(url(operation, "monitor/")).json()["error"]
    assert error["type"] == "urn:problem-type:async-reply/operation-canceled"
    assert (error["code"], error["status"]) == ("operation-canceled", 409)
    assert api.get(url(operation, "result/")).json() == error


@situations
@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("ask", ASKS)
def test_accept__never_changes_the_answer(
    api: APIClient, operation: Operation, situation: str, ask: str, accept: str
) -> None:
    method, end = ASKS[ask]
    response = api.generic(method, url(operation, end), headers={"Accept": accept})
    body_of(response)
    assert response.status_code == STATUSES[situation][ask]
    if response.status_code >= 400:
        assert response["Content-Type"] == "application/problem+json"
    elif response.status_code not in {204, 302}:
        is_stream = ask == "events" or (ask == "log" and accept == "text/event-stream")
        plain = "text/event-stream" if is_stream else "application/json"
        assert response["Content-Type"] == (
            "text/csv" if (situation, ask) == ("file", "R") else plain
        )


@situations
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("end", ALLOW)
def test_method__that_is_not_allowed_gets_the_allowed_ones(
    api: APIClient, operation: Operation, end: str, method: str
) -> None:
    if method in ALLOW[end].split(", "):
        return
    response = api.generic(method, url(operation, end))
    assert (response.status_code, response["Allow"]) == (405, ALLOW[end])
    assert response["Cache-Control"] == "private, no-store"
    assert "Retry-After" not in response
    if method != "HEAD":
        assert response.json()["status"] == 405


@situations
def test_urls__are_absolute_and_need_no_redirect(
    api: APIClient, operation: Operation, situation: str
) -> None:
    targets: set[str] = set()
    answers = [
        api.get(url(operation, end)) for end in ("", "monitor/", "result/", "events/", "log/")
    ]
    answers.append(api.get("/api/operations/?page_size=1"))
    for response in answers:
        fields = "\n".join(response.get(name, "") for name in ("Location", "Link"))
        text = fields + "\n" + body_of(response).decode()
        targets |= set(re.findall(r"https?://[^\s\"<>]+", text))
        assert not re.search(r"[\"<]/", text), text
    assert situation in GONE or len(targets) >= len(links(situation))
    for target in targets - {"https://files.example.org/report.pdf"}:
        response = api.get(target)
        body_of(response)
        assert response.status_code in {200, 202, 302, 405, 409, 422}, target


@situations
def test_events__client_that_has_seen_the_end_gets_204(
    api: APIClient, operation: Operation, situation: str
) -> None:
    fields = {"Last-Event-ID": str(operation.version)}
    response = api.get(url(operation, "events/"), headers=fields)
    content = body_of(response)
    if situation in UNFINISHED:
        assert (response.status_code, content) == (200, b":\n")
    elif situation not in GONE:
        names = {"Allow", "Cache-Control", "Link", "Vary", "X-Accel-Buffering"}
        assert (response.status_code, content, field_names(response)) == (204, b"", names)
    else:
        assert response.status_code == STATUSES[situation]["events"]


@situations
def test_result__ignores_prefer_wait(api: APIClient, operation: Operation, situation: str) -> None:
    """A 202 of this URL means unfinished. A client that prefers to wait asks S or M."""
    response = api.get(url(operation, "result/"), headers={"Prefer": "wait=9"})
    body_of(response)
    assert response.status_code == STATUSES[situation]["R"]
    assert "Preference-Applied" not in response


@situations
@pytest.mark.parametrize("times", [1, 3])
def test_cancel__never_deletes_anything(
    api: APIClient, operation: Operation, situation: str, times: int
) -> None:
    before = everything()
    for _ in range(times):
        api.post(url(operation, "cancel/"))
    after = everything()
    if situation not in {"pending", "running"}:
        assert after == before
    assert [row["input"] for row in after["Operation"]] == [
        row["input"] for row in before["Operation"]
    ]
    assert (after["OperationResult"], after["OperationFile"]) == (
        before["OperationResult"],
        before["OperationFile"],
    )


def test_cancel__comes_too_late_for_the_job(api: APIClient, running: Operation) -> None:
    """A 202 says that the job is asked to stop. A job that ends first has succeeded."""
    assert api.post(url(running, "cancel/")).status_code == 202
    with transaction.atomic():
        assert lifecycle.succeed(running)
        results.store(running, results.to_result({"number": 7}))
    assert api.get(url(running, "monitor/")).json()["status"] == "succeeded"
    assert api.get(url(running, "result/")).json() == {"number": 7}
    assert api.post(url(running, "cancel/")).status_code == 409


def test_urls__of_the_list_are_absolute(api: APIClient, user: AbstractBaseUser) -> None:
    for _ in range(3):
        services.submit(tasks.echo, owner=str(user.pk))
    first = api.get("/api/operations/?page_size=2")
    assert list(first.json()) == ["next", "previous", "results"]
    assert first.json()["next"].startswith("http://testserver/api/operations/?")
    second = api.get(first.json()["next"])
    assert second.status_code == 200
    assert api.get(second.json()["previous"]).status_code == 200
    assert field_names(first) == {"Allow", "Cache-Control", "Content-Type", "Vary"}
    assert first["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_list__other_methods(api: APIClient, method: str) -> None:
    response = api.generic(method, "/api/operations/")
    assert response.status_code == (200 if method in {"HEAD", "OPTIONS"} else 405)
    assert (response["Allow"], response["Cache-Control"]) == (
        "GET, HEAD, OPTIONS",
        "private, no-store",
    )
    if method == "HEAD":
        assert response.content == b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_submit__other_methods(api: APIClient, method: str) -> None:
    response = api.generic(method, "/echoes/")
    assert response.status_code == (200 if method == "OPTIONS" else 405)
    assert response["Allow"] == "POST, OPTIONS"
    assert not Operation.objects.exists()


@pytest.mark.parametrize("page", [{}, {"Origin": "https://page.example"}])
@situations
def test_cors__names_each_field_of_ours(
    api: APIClient, operation: Operation, page: dict[str, str]
) -> None:
    """The other fields are readable anyway, or of no use to a page: see test_cors."""
    others = {"Cache-Control", "Content-Type", "Expires", "Vary", "Allow", "X-Accel-Buffering"}
    for method, end in ASKS.values():
        response = api.generic(method, url(operation, end), headers=page)
        body_of(response)
        names = field_names(response)
        if not page:
            assert "Access-Control-Expose-Headers" not in names
            continue
        exposed = response["Access-Control-Expose-Headers"].split(", ")
        assert exposed == list(cors.EXPOSED)
        assert names - others - {"Access-Control-Expose-Headers"} <= set(exposed)


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("ask", WRITES)
def test_kind__that_cannot_be_canceled(
    api: APIClient, user: AbstractBaseUser, ask: str, claimed: bool
) -> None:
    """Its operations can be canceled neither while they are pending nor while they run."""
    operation = services.submit(tasks.persist, owner=str(user.pk))
    if claimed:
        assert lifecycle.claim(operation, worker="w1")
    assert "cancel" not in api.get(url(operation)).json()["links"]
    method, end = WRITES[ask]
    response = api.generic(method, url(operation, end))
    assert response.status_code == 409
    assert response.json()["type"] == "urn:problem-type:async-reply/operation-not-cancelable"
    assert "Retry-After" not in response
    operation.refresh_from_db()
    assert operation.status == ("running" if claimed else "pending")


def test_receipt__keys(api: APIClient) -> None:
    response = api.post("/echoes/", {})
    assert list(response.json()) == RECEIPT
    assert field_names(response) == {
        *("Allow", "Cache-Control", "Content-Type", "Link", "Location"),
        *("Operation-Id", "Operation-Location", "Retry-After", "Vary"),
    }
    run_operations()
    assert field_names(api.get(response["Location"])) == {
        *("Allow", "Cache-Control", "Content-Type", "Expires", "Link", "Location", "Vary"),
    }
