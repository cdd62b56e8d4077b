"""The client at foreign servers on real sockets and at our own views, sync and async."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
import pytest

from async_reply import client, services
from async_reply.client import OperationFailed, OperationTimeout, Progress, Question, aio, answers
from async_reply.models import Operation
from tests.client import servers
from tests.client.servers import Handler, serving

Submit = Callable[..., httpx.Response]


def sync(base_url: str, *args: Any, **options: Any) -> httpx.Response:
    with httpx.Client(base_url=base_url, headers={"X-Key": "secret"}) as http:
        return client.submit(http, *args, **options)


def asynchronous(base_url: str, *args: Any, **options: Any) -> httpx.Response:
    async def submit() -> httpx.Response:
        async with httpx.AsyncClient(base_url=base_url, headers={"X-Key": "secret"}) as http:
            return await aio.submit(http, *args, **options)

    return asyncio.run(submit())


both = pytest.mark.parametrize("submit", [sync, asynchronous])


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_reply.client.conversation.FIRST_PAUSE_SECONDS", 0.001)


@both
@pytest.mark.parametrize(
    ("handler", "method", "result"),
    [
        (servers.Plain, "POST", {"rows": 3}),
        (servers.Pending, "POST", {"status": "failed", "is": "the result, and no status document"}),
        (servers.Azure, "POST", {"path": "/results/7"}),
        (servers.Azure, "PUT", {"path": "/exports/"}),
        (servers.AzureThatNamesTheResource, "POST", {"path": "/things/7"}),
    ],
)
def test_submit__returns_the_result(
    submit: Submit, handler: type[Handler], method: str, result: Any
) -> None:
    with serving(handler) as (url, seen):
        response = submit(url, "/exports/", method=method, json={"rows": 3}, idempotency_key="k")
    assert response.json() == result
    assert (seen.polls, seen.requests[0][2]["Idempotency-Key"]) == (servers.POLLS, '"k"')
    assert {fields["X-Key"] for _, _, fields in seen.requests} == {"secret"}


@both
@pytest.mark.parametrize(
    ("handler", "status", "code", "detail"),
    [
        (servers.PlainThatFails, 422, "", "Row 7 has no date."),
        (servers.AzureThatFails, 200, "NoSpace", "The disk is full."),
    ],
)
def test_submit__raises_the_problem(
    submit: Submit, handler: type[Handler], status: int, code: str, detail: str
) -> None:
    with serving(handler) as (url, _), pytest.raises(OperationFailed, match=detail) as raised:
        submit(url, "/exports/")
    assert (raised.value.status, raised.value.code) == (status, code)


@both
def test_submit__tells_of_each_change(submit: Submit) -> None:
    changes: list[Progress] = []
    with serving(servers.Plain) as (url, _):
        submit(url, "/exports/", on_change=changes.append)
    assert [(change.status, change.progress) for change in changes] == [
        ("In progress", 25),
        ("In progress", 50),
    ]


@both
def test_follow_and_wait_for(submit: Submit) -> None:
    async def wait(url: str) -> list[Any]:
        async with httpx.AsyncClient(base_url=url) as http:
            accepted = await http.post("/exports/")
            waited = await aio.wait_for(http, accepted)
            return [waited.json(), (await aio.follow(http, "/status/7")).json()]

    with serving(servers.Plain) as (url, _):
        if submit is asynchronous:
            results = asyncio.run(wait(url))
        else:
            with httpx.Client(base_url=url) as http:
                waited = client.wait_for(http, http.post("/exports/"))
                results = [waited.json(), client.follow(http, "/status/7").json()]
    assert results == [{"rows": 3}, {"rows": 3}]


@both
def test_submit__gives_up_and_says_where_to_wait_on(submit: Submit) -> None:
    with serving(servers.Plain) as (url, _), pytest.raises(OperationTimeout) as raised:
        submit(url, "/exports/", timeout=0)
    assert raised.value.location == f"{url}/status/7"
    with serving(servers.Plain) as (url, _), httpx.Client(base_url=url) as http:
        accepted = http.post("/exports/")
        with pytest.raises(OperationTimeout) as raised:
            client.wait_for(http, accepted, timeout=0)
        assert raised.value.location == f"{url}/status/7"
        assert client.follow(http, raised.value.location).json() == {"rows": 3}


def test_ours__the_result(ours: httpx.Client) -> None:
    with ours as http:
        changes: list[Progress] = []
        result = client.submit(http, "/echoes/", json={"number": 7}, on_change=changes.append)
        assert result.json() == {"number": 7}
        assert [change.status for change in changes] == ["succeeded"]
        assert client.submit(http, "/exports/").text == "a;b\n1;2\n"
        assert client.submit(
            http, "/dressed/", json={"number": 7}, idempotency_key="1"
        ).status_code == (201)


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/echoes/", {"number": "seven"}, 400, "errors"),
        ("/refusals/", {}, 422, "The year is not over."),
        ("/breakdowns/", {}, 409, "failed"),
    ],
)
def test_ours__the_problem(
    ours: httpx.Client, path: str, body: Any, status: int, detail: str
) -> None:
    with ours as http, pytest.raises(OperationFailed, match=detail) as raised:
        client.submit(http, path, json=body)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("value", "result"),
    [({"approved": True}, {"answer": {"approved": True}}), (None, {"answer": {"approved": False}})],
)
def test_ours__a_question(ours: httpx.Client, value: Any, result: Any) -> None:
    """Each question is asked once. One that the user leaves to others is answered by another."""
    questions: list[Question] = []
    changes: list[Progress] = []

    def answer(question: Question) -> Any:
        questions.append(question)
        return value

    def watch(progress: Progress) -> None:
        changes.append(progress)
        if progress.question is not None and value is None:
            services.answer(Operation.objects.get(), "approve", {"approved": False})

    with ours as http:
        response = client.submit(http, "/approvals/", json={}, on_question=answer, on_change=watch)
    assert response.json() == result
    assert [(question.name, bool(question.until)) for question in questions] == [("approve", True)]
    assert [changes[0].question, changes[-1].question] == [*questions, None]


def test_ours__an_answer_that_is_not_valid(ours: httpx.Client) -> None:
    with ours as http, pytest.raises(OperationFailed) as raised:
        client.submit(http, "/approvals/", json={}, on_question=lambda _: {"approved": "perhaps"})
    assert raised.value.status == 400
    assert set(raised.value.problem["errors"]) == {"approved"}


def test_ours__an_answer_that_comes_too_late(ours: httpx.Client) -> None:
    """Somebody else has answered otherwise: the client goes on, and gets the result."""

    def answer(_question: Question) -> Any:
        services.answer(Operation.objects.get(), "approve", {"approved": False})
        return {"approved": True}

    with ours as http:
        result = client.submit(http, "/approvals/", json={}, on_question=answer)
    assert result.json() == {"answer": {"approved": False}}


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_asynchronous__a_question(is_coroutine: bool) -> None:
    async def wait_and_answer(question: Question) -> Any:
        await asyncio.sleep(0)
        return {"to": question.name}

    answer = wait_and_answer if is_coroutine else lambda question: {"to": question.name}
    with serving(servers.Asking) as (url, seen):
        response = asynchronous(url, "/exports/", on_question=answer)
    assert response.json() == {"answer": {"to": "approve"}}
    assert [path for method, path, _ in seen.requests if method == "POST"] == [
        "/exports/",
        "/questions/7",
    ]


@both
def test_question__that_is_left_to_others_is_told_once(submit: Submit) -> None:
    questions: list[Question] = []
    with serving(servers.Asking) as (url, seen):
        response = submit(url, "/exports/", on_question=questions.append)
    assert (response.json(), seen.polls) == ({"answer": None}, servers.POLLS)
    assert [question.name for question in questions] == ["approve"]


def test_question__without_a_link_is_for_others() -> None:
    documents: list[Any] = [{"input_required": 1}, {"input_required": {"name": "a", "link": None}}]
    assert [answers.question(document) for document in documents] == [None, None]


def test_ours__by_the_location(ours: httpx.Client) -> None:
    with ours as http:
        for url in http.post("/echoes/", json={"number": 7}).json()["links"].values():
            if url.endswith(("/monitor/", "/result/")):
                assert client.follow(http, url).json() == {"number": 7}
        location = http.post("/echoes/", json={"number": 7}).headers["Location"]
        assert client.follow(http, location).json() == {"number": 7}


def test_get__sends_no_credentials_to_another_server() -> None:
    """Another port is another server."""
    http = httpx.Client(base_url="http://x", headers={"X-Key": "secret"}, auth=("a", "b"))
    with http, serving(servers.Azure) as (other, seen):
        client.follow(http, f"{other}/things/7")
    fields = seen.requests[0][2]
    assert {"X-Key", "x-key", "Authorization"} & fields.keys() == set()


@pytest.mark.parametrize("status", [429, 503])
def test_submit__is_repeated_when_the_server_is_busy(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    replies = [httpx.Response(status, headers={"Retry-After": "7"}), httpx.Response(200, json=1)]
    transport = httpx.MockTransport(lambda request: replies.pop(0))
    with httpx.Client(base_url="http://x", transport=transport) as http:
        assert client.submit(http, "/").json() == 1
    (pause,) = pauses
    assert 7 <= pause <= 7 * 1.2


@pytest.mark.parametrize("status", [502, 504])
def test_submit__without_a_key_is_not_repeated_by_way_of_a_proxy(status: int) -> None:
    """The proxy cannot know whether the server has stored the request."""

    class Proxy(servers.Odd):
        accepted = status, {"Retry-After": "0"}

    with serving(Proxy) as (url, seen), pytest.raises(OperationFailed, match=str(status)):
        sync(url, "/exports/")
    assert len(seen.requests) == 1


def test_submit__without_a_key_is_not_repeated_after_a_connection_error() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone")

    http = httpx.Client(base_url="http://x", transport=httpx.MockTransport(fail))
    with http, pytest.raises(httpx.ReadError):
        client.submit(http, "/")


BAD_URL = "http://[::1"


@both
@pytest.mark.parametrize(
    ("accepted", "answered", "detail"),
    [
        pytest.param(
            {}, (307, None, {"Location": "/status/7"}), "again and again", id="307 to itself"
        ),
        pytest.param(
            {}, (302, None, {"Location": "/status/7"}), "again and again", id="302 to itself"
        ),
        pytest.param({}, (302, None, {}), "answered 302, and names no other URL", id="302 to none"),
        pytest.param({"Location": BAD_URL}, (200, None, {}), "URL that is not valid", id="bad 202"),
        pytest.param(
            {"Operation_Location": "/status/7"},
            (200, {"status": "Succeeded", "resourceLocation": BAD_URL}, {}),
            "URL that is not valid",
            id="bad resourceLocation",
        ),
        pytest.param(
            {"Operation_Location": "/status/7"},
            (200, {"data": {"status": "running"}}, {"Retry-After": "1"}),
            "monitor shows no status",
            id="wrapped status",
        ),
    ],
)
def test_submit__at_a_server_that_leads_nowhere_fails(
    submit: Submit, accepted: dict[str, str], answered: Any, detail: str
) -> None:
    class Nowhere(servers.Odd):
        pass

    Nowhere.answered = answered
    Nowhere.accepted = 202, {"Location": "/status/7", **accepted}
    with serving(Nowhere) as (url, seen), pytest.raises(OperationFailed, match=detail):
        submit(url, "/exports/")
    assert seen.polls < 20


@pytest.mark.parametrize("status", [301, 307, 308])
def test_submit__that_is_redirected_is_no_result(status: int) -> None:
    """A redirect of the request itself, to https:// for example, is not followed."""

    class Moved(servers.Odd):
        accepted = status, {"Location": "https://example.org/exports/"}

    with (
        serving(Moved) as (url, seen),
        pytest.raises(OperationFailed, match=r"names https://example\.org/exports/"),
    ):
        sync(url, "/exports/")
    assert seen.polls == 0


@pytest.mark.parametrize("delay", ["9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_delay__is_one_that_a_system_can_sleep(delay: str) -> None:
    response = httpx.Response(503, headers={"Retry-After": delay})
    assert answers.retry_after(response) == answers.LONGEST_DELAY_SECONDS


def test_delay__that_no_date_has_is_none() -> None:
    response = httpx.Response(503, headers={"Retry-After": "Mon, 01 Jan 20269999900 00:00:00 GMT"})
    assert answers.retry_after(response) is None


def test_document__that_is_nested_too_deeply_is_none() -> None:
    fields = {"Content-Type": "application/json"}
    assert answers.document(httpx.Response(200, headers=fields, content=b"[" * 200_000)) == {}


def test_command__writes_the_result_and_shows_the_progress() -> None:
    with serving(servers.Plain) as (url, _):
        command = [sys.executable, "-m", "async_reply.client", f"{url}/exports/", "--json", "{}"]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == '{"rows": 3}'
    assert " 25 % In progress" in process.stderr


def test_command__shows_where_to_answer() -> None:
    with serving(servers.Asking) as (url, _):
        command = [sys.executable, "-m", "async_reply.client", f"{url}/exports/"]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == '{"answer": null}'
    assert "pending asks approve: answer at /questions/7" in process.stderr


def test_command__that_fails_shows_the_problem() -> None:
    with serving(servers.PlainThatFails) as (url, _):
        command = [sys.executable, "-m", "async_reply.client", f"{url}/exports/", "-q"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert "Row 7 has no date." in process.stderr


def test_command__that_is_interrupted_says_where_to_wait_on() -> None:
    class Endless(servers.Odd):
        answered: ClassVar[Any] = (
            200,
            {"status": "running", "links": {"monitor": "http://x/monitor/"}},
            {"Retry-After": "60"},
        )

    with serving(Endless) as (url, _):
        command = [sys.executable, "-m", "async_reply.client", f"{url}/exports/"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "0 % running" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines() == [
        "Interrupted. What was accepted goes on.",
        "Wait on by --follow http://x/monitor/",
    ]


def test_import__needs_no_django() -> None:
    code = (
        "import sys, async_reply.client.aio, async_reply.client.__main__; "
        "sys.exit(bool({'django', 'celery', 'rest_framework'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["input_required", "inputRequired"])
def test_question__is_seen_under_either_spelling(name: str) -> None:
    asked = {"name": "approve", "link": "/operations/1/input/approve/", "until": "2027"}
    found = answers.question({"status": "pending", name: asked})
    assert found is not None
    assert found.name == "approve"
