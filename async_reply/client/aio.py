"""The functions of `async_reply.client` for an `httpx.AsyncClient`.

`on_question` may also be an `async def`.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import httpx

from async_reply.client.conversation import Conversation
from async_reply.client.log import LogReader
from async_reply.client.steps import (
    Answer,
    Consultation,
    OnChange,
    OnQuestion,
    Steps,
    on_submit,
)

__all__ = ["follow", "read_log", "submit", "wait_for"]


async def submit(
    http: httpx.AsyncClient,
    url: str,
    *,
    method: str = "POST",
    idempotency_key: str | None = None,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
    **options: Any,
) -> httpx.Response:
    """Send a request and return the answer that has its result: see `async_reply.client.submit`."""
    request = http.build_request(method, url, **on_submit(options, idempotency_key))
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    steps = conversation.submit(request, is_repeatable=idempotency_key is not None)
    return await _drive(http, steps)


async def wait_for(
    http: httpx.AsyncClient,
    response: httpx.Response,
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
) -> httpx.Response:
    """Return the answer that has the result: see `async_reply.client.wait_for`."""
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    return await _drive(http, conversation.wait_for(response))


async def follow(
    http: httpx.AsyncClient,
    location: str,
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
    on_question: OnQuestion | None = None,
) -> httpx.Response:
    """Return the answer that has the result: see `async_reply.client.follow`."""
    conversation = Conversation(http, timeout=timeout, on_change=on_change, on_question=on_question)
    return await _drive(http, conversation.follow(location))


async def read_log(
    http: httpx.AsyncClient, location: str, *, after: int = 0
) -> AsyncIterator[dict[str, Any]]:
    """The events of an operation's log as they come: see `async_reply.client.read_log`."""
    reader = LogReader(http, location, after=after)
    while not reader.is_complete:
        await _drive(http, reader.page())
        for event in reader.events:
            yield event


async def _drive(http: httpx.AsyncClient, steps: Steps) -> httpx.Response:
    answer: Answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            response: httpx.Response = stop.value
            return response
        answer = None
        if isinstance(step, float):
            await asyncio.sleep(step)
            continue
        if isinstance(step, Consultation):
            answer = step.function(step.question)
            if inspect.isawaitable(answer):
                answer = await answer
            continue
        try:
            answer = await http.send(step.request, follow_redirects=False, **step.options)
        except httpx.TransportError as error:
            answer = error
