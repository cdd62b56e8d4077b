"""log.js in Chromium, with our server and with one that breaks."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.stacks.stack import Stack

pytestmark = pytest.mark.clients

Run = Callable[..., Any]

FLUSH = """
from tests.event_log import flush
from async_reply.models import Operation
flush(Operation.objects.get(pk="{pk}"), 3)
"""


def test_follow_log__goes_on_behind_the_last_event(run: Run, foreign: Callable[[], str]) -> None:
    seen = run(
        """
        const events = [], resets = [];
        const onEvent = ({id, event}) => { events.push([event, id]); };
        const onReset = (after) => { resets.push([after, events.length]); };
        const end = await followLog("/log/broken", {headers, fetch: logged, onEvent, onReset});
        return {end, events, resets, requests};
        """,
        origin=foreign(),
    )
    names = ["row", "row", "reset", "row", "truncated", "failed"]
    assert seen["events"] == [list(event) for event in zip(names, (1, 2, 3, 4, 7, 8), strict=True)]
    assert (seen["resets"], seen["end"]["status"]) == ([[1, 2]], "failed")
    last = [request["headers"].get("last-event-id") for request in seen["requests"]]
    assert last == [None, "1", "1"]


def test_follow_log__survives_an_expired_link(run: Run, foreign: Callable[[], str]) -> None:
    """It goes on by the URL of `renew`, or as the user who is logged in."""
    seen = run(
        """
        const read = async (url, options) => {
          const ids = [], onEvent = ({id}) => { ids.push(id); };
          const end = await followLog(url, {headers, fetch: logged, onEvent, ...options});
          return {ids, status: end.status};
        };
        return {
          owner: await read("/log/owner?sig=old"),
          renewed: await read("/log/guest?sig=old", {renew: async () => "/log/guest?sig=new"}),
          vain: await failure(read("/log/vain?sig=old", {renew: () => "/log/vain?sig=old"})),
          requests,
        };
        """,
        origin=foreign(),
    )
    assert seen["owner"] == seen["renewed"] == {"ids": [1, 2, 3, 4, 7, 8], "status": "failed"}
    assert seen["vain"]["status"] == 404
    paths = [request["url"].partition("/log/")[2] for request in seen["requests"]]
    assert paths == [
        *["owner?sig=old"] * 2,
        *["owner"] * 3,
        *["guest?sig=old"] * 2,
        *["guest?sig=new"] * 3,
        *["vain?sig=old"] * 3,
    ]


def test_follow_log__ends_with_a_refusal_and_with_a_bug_of_the_page(
    run: Run, foreign: Callable[[], str]
) -> None:
    refused = run('return failure(followLog("/api/operations/0192/log/", {headers}));')
    assert refused["status"] == 404
    bug = run(
        """
        const onEvent = () => { throw new TypeError("A bug of the page."); };
        return failure(followLog("/log/bug", {onEvent}));
        """,
        origin=foreign(),
    )
    assert bug["message"] == "A bug of the page."


def test_follow_log__across_a_restart_of_the_server(stack: Stack, chromium: Any) -> None:
    """Each event comes once: those before, those while the server is away, and those afterwards."""
    with stack.client() as client:
        links = client.post("/api/sleeps/", json={"seconds": 600, "steps": 6000}).json()["links"]
        pk = links["self"].rstrip("/").rpartition("/")[2]

        def flush() -> None:
            stack.manage("shell", "-c", FLUSH.format(pk=pk))

        flush()
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{stack.port}/static/async_reply/client.js")
        page.evaluate(
            """(url) => { import("/static/async_reply/log.js").then(({followLog}) => {
                window.ids = [];
                window.end = followLog(url, {
                  headers: {Authorization: "Token demo"},
                  onEvent: ({id}) => { ids.push(id); },
                });
            }); }""",
            links["log"],
        )
        page.wait_for_function("window.ids?.at(-1) === 3", timeout=60_000)
        flush()
        page.wait_for_function("ids.at(-1) === 6", timeout=60_000)
        (web,) = (process for process in stack.processes if process.name == "web")
        stack.end(web)
        flush()
        stack.start_web()
        page.wait_for_function("ids.at(-1) === 9", timeout=60_000)
    with stack.client() as client:
        client.post(links["cancel"])
    end = page.evaluate("end")
    ids = page.evaluate("ids")
    page.close()
    assert end["status"] == "canceled"
    assert ids == list(range(1, 11))
