"""Submits requests and waits for their results, at any server that speaks the pattern.

It needs the extra `client` and no Django. The functions take an `httpx.Client`, which has the base
URL, the credentials and the timeout of a single request. `async_reply.client.aio` has the same
functions for an `httpx.AsyncClient`.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from async_reply.client.answers import Progress, Question
from async_reply.client.conversation import Conversation
from async_reply.client.errors import OperationFailed, OperationTimeout
from async_reply.client.log import LogReader
from async_reply.client.steps import (
    Answer,
    Consultation,
    OnChange,
    OnQuestion,
    Steps,
    on_submit,
)

__all__ = [
    "OperationFailed",
    "OperationTimeout",
    "Progress",
    "Question",
    "follow",
    "read_log",
    "submit",
    "wait_for",
]


def submit(
    http: httpx.Client,
    url: str,
    *,
    method: str = "POST",
    idempotency_key: str | None = None,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
    **options: Any,
) -> httpx.Response:
    """Send a request and return the answer that has its result.

    `options` are those of `httpx.Client.request`: `json`, `data`, `files`, `headers` and so on.
    With an `idempotency_key` the request is sent again after a connection error. `on_change` gets a
    `Progress` at each change.
    `on_question` gets each `Question` of the job once, and returns the answer as JSON-able data, or
    None to leave it to others. An answer that the server refuses raises OperationFailed.
    Raises OperationFailed, or OperationTimeout after `timeout` seconds.
    """
    request = http.build_request(method, url, **on_submit(options, idempotency_key))
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    return _drive(http, conversation.submit(request, is_repeatable=idempotency_key is not None))


def wait_for(
    http: httpx.Client,
    response: httpx.Response,
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
) -> httpx.Response:
    """Return the answer that has the result, for the `response` to a submit.

    A response other than 202 is returned as it is. Raises OperationFailed or OperationTimeout.
    """
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    return _drive(http, conversation.wait_for(response))


def follow(
    http: httpx.Client,
    location: str,
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
) -> httpx.Response:
    """Return the answer that has the result, for the `Location` or `Operation-Location` of a 202.

    The client's credentials go to the host of its base URL, or else to that of `location`.
    Raises OperationFailed or OperationTimeout.
    """
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    return _drive(http, conversation.follow(location))


def read_log(http: httpx.Client, location: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """The events of an operation's log as they come, for the URL `links["log"]` of its document.

    An event has `id`, `event`, `at` and `data`. The last one is the outcome: its name is the final
    status, and its data the document. To go on later, pass the `id` of the last event as `after`.
    After an event `reset` those behind `data["after"]` are void, and come again.
    Raises OperationFailed if the server refuses the request.
    """
    reader = LogReader(http, location, after=after)
    while not reader.is_complete:
        _drive(http, reader.page())
        yield from reader.events


def _drive(http: httpx.Client, steps: Steps) -> httpx.Response:
    answer: Answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            response: httpx.Response = stop.value
            return response
        answer = None
        if isinstance(step, float):
            time.sleep(step)
            continue
        if isinstance(step, Consultation):
            answer = step.function(step.question)
            continue
        try:
            answer = http.send(step.request, follow_redirects=False, **step.options)
        except httpx.TransportError as error:
            answer = error
