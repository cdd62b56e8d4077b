"""Clients wait while a job asks: they are told at once, answer by the link, and get the result."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from async_reply import client as python_client
from async_reply.client import Question
from tests.stacks.stack import Stack, follow, prepared

pytestmark = pytest.mark.system

PAIRINGS = ["sqlite+files", "postgresql+redis"]
YES = {"approved": True}
#: A client that is not told waits for longer than the test.
WAIT_SECONDS, PATIENCE_SECONDS = 50, 40


@pytest.fixture(scope="module", params=PAIRINGS)
def asking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, int]]:
    """A stack without a worker, and the port of its second server, which speaks ASGI."""
    database, broker = request.param.split("+")
    folder = tmp_path_factory.mktemp("asking")
    settings = "tests.settings"
    with prepared(folder, database=database, broker=broker, settings=settings, lease=2) as stack:
        yield stack, stack.start_asgi()


def by_wait(http: httpx.Client, links: dict[str, str]) -> Any:
    """The document of a long poll."""
    return http.get(links["self"], headers={"Prefer": f"wait={WAIT_SECONDS}"}).json()


def by_events(http: httpx.Client, links: dict[str, str]) -> Any:
    """The document of the first event that has a question."""
    with connect_sse(http, "GET", links["events"]) as source:
        documents = (event.json() for event in source.iter_sse())
        return next(document for document in documents if "input_required" in document)


def accepted(http: httpx.Client) -> Any:
    response = http.post("/approvals/", json={})
    assert response.status_code == 202
    return response


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("wait", [by_wait, by_events])
def test_client__is_told_at_once_and_answers(
    wait: Callable[..., Any], server: str, asking: tuple[Stack, int]
) -> None:
    stack, asgi_port = asking
    port = asgi_port if server == "asgi" else stack.port
    fields = {"Authorization": "Token demo"}
    origin = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=origin, headers=fields, timeout=WAIT_SECONDS + 10) as http,
        ThreadPoolExecutor() as threads,
    ):
        links = accepted(http).json()["links"]
        told = threads.submit(wait, http, links)
        worker = stack.start_worker()
        document = told.result(PATIENCE_SECONDS)
        question = document["input_required"]
        assert (document["status"], question["name"]) == ("pending", "approve")
        ended = threads.submit(follow, http, links["self"])
        assert http.post(question["link"], json={"approved": "perhaps"}).status_code == 400
        assert http.post(question["link"], json=YES).status_code == 200
        assert ended.result(PATIENCE_SECONDS).json() == {"answer": YES}
    worker.stop()
    stack.processes.remove(worker)


def test_python_client__answers_by_its_callback(asking: tuple[Stack, int]) -> None:
    stack, _asgi_port = asking
    questions: list[Question] = []

    def answer(question: Question) -> Any:
        questions.append(question)
        return YES

    worker = stack.start_worker()
    with stack.client() as http:
        result = python_client.submit(
            http, "/approvals/", json={}, on_question=answer, timeout=PATIENCE_SECONDS
        )
    worker.stop()
    stack.processes.remove(worker)
    assert result.json() == {"answer": YES}
    (question,) = questions
    assert question.name == "approve"
    assert question.schema["required"] == ["approved"]
