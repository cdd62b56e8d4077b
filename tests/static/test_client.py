"""client.js in Chromium, with our servers and with others."""

import json
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.server import need
from tests.stacks.stack import Stack
from tests.static.foreign import CLIENT, RESULT

pytestmark = pytest.mark.clients

Run = Callable[..., Any]


def test_follow__brings_the_result_in_each_way(run: Run, stack: Stack, asgi_port: int) -> None:
    """The stream of WSGI and of ASGI, long polls, and polls at the pace of Retry-After."""
    program = """
        const body = {seconds: 1.5, value: "ü"};
        const submission = await submit("/api/sleeps/", body, {headers, fetch: logged});
        const response = await follow(submission, {...ARGUMENT, headers, onChange, fetch: logged});
        const value = await response.json();
        return {location: submission.location, requests, documents, value, url: response.url};
    """
    ways = {
        "events": ({}, stack.port, "/events/"),
        "events by ASGI": ({}, asgi_port, "/events/"),
        "wait": ({"modes": ["wait", "poll"], "waitSeconds": 5}, stack.port, "/monitor/"),
        "poll": ({"modes": ["poll"]}, stack.port, "/monitor/"),
    }
    for name, (options, port, end) in ways.items():
        seen = run(program, origin=f"http://127.0.0.1:{port}", argument=options)
        assert seen["value"] == {"slept": 1.5, "value": "ü"}, name
        asked = [urlsplit(request["url"]).path for request in seen["requests"]]
        assert asked[0] == "/api/sleeps/", name
        assert urlsplit(seen["location"]).path.endswith("/monitor/"), name
        assert asked[-1] == urlsplit(seen["url"]).path, name
        assert asked[-1].endswith("/result/"), name
        assert {path.endswith(end) for path in asked[1:-1]} == {True}, name
        prefer = [request["headers"].get("prefer") for request in seen["requests"][1:-1]]
        assert set(prefer) == {"wait=5" if name == "wait" else None}, name
        progress = [document["progress"] or 0 for document in seen["documents"]]
        assert progress == sorted(progress), name
        assert seen["documents"][-1]["status"] == "succeeded", name
        if end == "/events/":
            assert (len(asked), len(seen["documents"]) > 2) == (3, True), name


def test_answer__goes_on_in_each_way(run: Run, stack: Stack, asgi_port: int) -> None:
    """The page is told of the question at once. It answers wrongly, and then rightly."""
    program = """
        const submission = await submit("/approvals/", {}, {headers});
        const following = follow(submission, {...ARGUMENT, headers, onChange});
        while (!documents.at(-1)?.input_required) await sleep(0.05);
        const asked = documents.at(-1);
        const refused = await failure(answer(asked, {approved: "perhaps"}, {headers}));
        // The client waits on by now, or is about to.
        await sleep(0.5);
        const answered = await answer(asked, {approved: true}, {headers});
        const again = await answer(asked, {approved: true}, {headers});
        const late = await failure(answer(asked, {approved: false}, {headers}));
        const value = await (await following).json();
        const nothing = await failure(answer({...asked, input_required: null}, 1, {headers}));
        const question = asked.input_required.name;
        return {question, refused, answered, again, late, value, nothing};
    """
    ways: dict[str, tuple[Any, int]] = {
        "events": ({}, stack.port),
        "events by ASGI": ({}, asgi_port),
        "wait": ({"modes": ["wait"], "waitSeconds": 30}, stack.port),
        "wait by ASGI": ({"modes": ["wait"], "waitSeconds": 30}, asgi_port),
    }
    for name, (options, port) in ways.items():
        seen = run(program, origin=f"http://127.0.0.1:{port}", argument=options)
        assert seen["question"] == "approve", name
        assert (seen["refused"]["status"], list(seen["refused"]["errors"])) == (
            400,
            ["approved"],
        ), name
        assert seen["answered"]["status"] == "answered", name
        assert seen["again"] == seen["answered"], name
        assert seen["late"]["status"] == 409, name
        assert seen["value"] == {"answer": {"approved": True}}, name
        assert seen["nothing"]["name"] == "TypeError", name


def test_follow__ends_with_the_reason(run: Run) -> None:
    """A failure, a cancel, the caller's abort, a refusal, and an operation that nobody knows."""
    seen = run("""
        const more = {headers, fetch: logged, onChange};
        const start = (body) => submit("/api/sleeps/", body, {headers});
        const long = {seconds: 600, steps: 6000};
        const seen = {};
        seen.failed = await failure(follow(await start({seconds: 0, outcome: "fail"}), more));

        const running = follow(await start(long), more);
        while (documents.at(-1)?.status !== "running") await sleep(0.05);
        seen.told = await cancel(documents.at(-1), more);
        seen.canceled = await failure(running);
        seen.again = await cancel(documents.at(-1), more);

        const stop = new AbortController();
        const {location} = await start(long);
        const stops = {signal: stop.signal, onChange: () => stop.abort()};
        seen.aborted = await failure(follow(location, {...more, ...stops}));
        seen.goesOn = (await (await fetch(location, {headers})).json()).status;
        await cancel(location, {headers});

        seen.refused = await failure(start({seconds: -1}));
        const unknown = "/api/operations/0192aaaa-0000-7000-8000-000000000000/monitor/";
        const before = requests.length;
        seen.unknown = await failure(follow(unknown, more));
        seen.requests = requests.length - before;
        const bug = () => { throw new TypeError("A bug of the page."); };
        seen.bug = await failure(follow(await start({seconds: 0}), {headers, onChange: bug}));
        const options = {headers, fetchResult: false};
        seen.document = await (await follow(await start({seconds: 0}), options)).json();
        return seen;
    """)
    failed, canceled, refused = seen["failed"], seen["canceled"], seen["refused"]
    assert failed["message"] == "The sleep was asked to fail."
    assert (failed["name"], failed["code"], failed["canceled"], failed["operation"]) == (
        "OperationFailed",
        "sleep-failed",
        False,
        "failed",
    )
    assert seen["told"]["status"] in {"canceling", "canceled"}
    assert (canceled["canceled"], canceled["operation"], seen["again"]) == (True, "canceled", None)
    assert seen["aborted"]["name"] == "AbortError"
    assert seen["goesOn"] in {"pending", "running"}
    assert (refused["status"], list(refused["errors"])) == (400, ["seconds"])
    assert (seen["unknown"]["status"], seen["requests"]) == (404, 1)
    assert seen["bug"]["message"] == "A bug of the page."
    assert seen["document"]["status"] == "succeeded"


def test_follow__survives_a_restart_of_the_server(run: Run, stack: Stack, chromium: Any) -> None:
    """The page holds its location only, as after a reload. The stream breaks, and comes back."""
    with stack.client() as client:
        accepted = client.post("/api/sleeps/", json={"seconds": 10, "steps": 100}).json()
    page = chromium.new_page()
    page.goto(f"http://127.0.0.1:{stack.port}/static/async_reply/client.js")
    page.evaluate(
        """(location) => { import("/static/async_reply/client.js").then(({follow}) => {
            window.seen = [];
            window.result = follow(location, {
              headers: {Authorization: "Token demo"},
              onChange: (operation) => seen.push(operation.progress),
            }).then((response) => response.json());
        }); }""",
        accepted["links"]["monitor"],
    )
    page.wait_for_function("window.seen?.at(-1) > 0", timeout=60_000)
    (web,) = (process for process in stack.processes if process.name == "web")
    stack.end(web)
    before = page.evaluate("seen.length")
    stack.start_web()
    result = page.evaluate("result")
    after = page.evaluate("seen.length")
    page.close()
    assert result == {"slept": 10.0, "value": None}
    assert after > before


def test_follow__survives_an_expired_link(run: Run) -> None:
    """The owner's credentials open the operation without the key; others ask for a new link."""
    seen = run("""
        const key = {idempotencyKey: crypto.randomUUID()};
        const body = {seconds: 0, value: 7};
        const own = () => submit("/signed-sleeps/", body, {headers, ...key});
        const old = [(await own()).location, (await submit("/api/public-sleeps/", body)).location];
        for (const url of old) while ((await fetch(url)).status !== 404) await sleep(0.2);
        const value = async (...call) => (await follow(...call)).json();
        return {
          owner: await value(old[0], {headers}),
          stranger: await failure(follow(old[1])),
          renewed: await value(old[0], {renew: async () => (await own()).location}),
          vain: await failure(follow(old[1], {renew: () => old[1]})),
        };
    """)
    assert seen["owner"] == seen["renewed"] == {"slept": 0.0, "value": 7}
    assert seen["stranger"]["status"] == seen["vain"]["status"] == 404


def test_follow__serves_a_page_of_another_origin(run: Run, stack: Stack, foreign: Any) -> None:
    """By a signed link no header is needed. Headers go to the API's origin, and nowhere else."""
    need("corsheaders", extra="dev")
    api = f"http://127.0.0.1:{stack.port}"
    page = foreign().replace("127.0.0.1", "localhost")
    seen = run(
        """
        const values = [];
        for (const [path, more] of [["public-sleeps", {}], ["sleeps", {headers}]]) {
          const submission = await submit(`${ARGUMENT}/api/${path}/`, {seconds: 1}, more);
          const response = await follow(submission, {...more, fetch: logged, onChange});
          values.push(await response.json());
        }
        const elsewhere = new URL("/result/x", document.baseURI).href;
        const monitor = {location: `${ARGUMENT}/api/operations/`};
        const found = Response.json({status: "succeeded", resourceLocation: elsewhere});
        const fake = async (url, init) => (url.startsWith(ARGUMENT) ? found : logged(url, init));
        await follow(monitor, {headers, fetch: fake});
        return {values, requests, last: requests.at(-1)};
        """,
        origin=page,
        argument=api,
    )
    assert seen["values"] == [{"slept": 1.0, "value": None}] * 2
    assert any("/events/?sig=" in request["url"] for request in seen["requests"])
    assert seen["last"]["url"].startswith(page)
    assert "authorization" not in seen["last"]["headers"]


@pytest.mark.parametrize("style", ["plain", "azure", "unsure", "broken", "reset", "streams"])
def test_follow__works_with_other_servers(run: Run, foreign: Any, style: str) -> None:
    """A status URL alone, Azure's monitor, 503 and 502 and resets, and streams that end at once."""
    seen = run(
        """
        const more = {fetch: logged, onChange};
        const submission = await submit(`/${ARGUMENT}`, {}, {...more, idempotencyKey: "k"});
        const response = await follow(submission, more);
        return {value: await response.json(), requests};
        """,
        origin=foreign(),
        argument=style,
    )
    assert seen["value"] == RESULT
    requests = seen["requests"]
    submits = [request for request in requests if request["method"] == "POST"]
    assert len(submits) == (3 if style == "unsure" else 1)
    streams = [request for request in requests if "/events/" in request["url"]]
    assert len(streams) == (2 if style == "streams" else 0)


@pytest.mark.parametrize("delay", ["99999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_long_delay__is_no_short_one(delay: str) -> None:
    """A timer of more than 24 days would end at once, and the client would poll without a pause."""
    program = f"""
        import {{ follow }} from "{CLIENT / "async_reply" / "client.js"}";
        let polls = 0;
        const headers = {{ "Content-Type": "application/json", "Retry-After": "{delay}" }};
        const fetch = async () => (polls++, new Response('{{"status": "running"}}', {{ headers }}));
        follow("http://localhost/status/7", {{ fetch }});
        setTimeout(() => {{ console.log(polls); process.exit(); }}, 300);
    """
    command = ["node", "--input-type=module", "--no-warnings", "-e", program]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout == "1\n"


@pytest.mark.parametrize("name", ["input_required", "inputRequired"])
def test_answer__finds_the_question_under_either_spelling(name: str) -> None:
    """The second one is that of a project whose renderer writes names in camel case."""
    program = f"""
        import {{ answer }} from "{CLIENT / "async_reply" / "answer.js"}";
        const fetch = async (url) => Response.json({{ url }});
        const operation = {{ "{name}": {{ name: "approve", link: "http://localhost/input/" }} }};
        console.log((await answer(operation, true, {{ fetch }})).url);
    """
    command = ["node", "--input-type=module", "--no-warnings", "-e", program]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.stdout == "http://localhost/input/\n", process.stderr


@pytest.mark.parametrize(
    ("status", "expected"),
    [({"status": "Provisioning"}, "2 polls"), ({"data": {"status": "succeeded"}}, "no status")],
)
def test_monitor__is_no_result(status: Any, expected: str) -> None:
    """A monitor has a status, be it an unknown one. A server may wrap its answers."""
    program = f"""
        import {{ follow }} from "{CLIENT / "async_reply" / "client.js"}";
        let polls = 0;
        const done = {{ status: "succeeded" }};
        const fetch = async () => (polls++, Response.json(polls < 2 ? {json.dumps(status)} : done));
        const options = {{ fetch, retries: 0, fetchResult: false }};
        const submission = {{ location: "http://localhost/8", result: "http://localhost/7" }};
        await follow(submission, options).then(() => console.log(polls, "polls"), console.log);
    """
    command = ["node", "--input-type=module", "--no-warnings", "-e", program]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert expected in process.stdout, process.stderr
