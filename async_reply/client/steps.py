"""The steps that a conversation yields, for the functions that send, pause and ask the user."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from async_reply.client import answers
from async_reply.protocol import headers


@dataclass(frozen=True)
class Step:
    """A request to send, with further options of `send`."""

    request: httpx.Request
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Consultation:
    """A call of the user's function, which returns the answer to a question, or None."""

    function: "OnQuestion"
    question: answers.Question


#: The answer to a step: of a consultation it is any value.
Answer: TypeAlias = Any
Steps: TypeAlias = "Generator[Step | Consultation | float, Answer, httpx.Response]"
OnChange: TypeAlias = Callable[[answers.Progress], object]
OnQuestion: TypeAlias = Callable[[answers.Question], Any]


def on_submit(options: dict[str, Any], idempotency_key: str | None) -> dict[str, Any]:
    """The options of a request, with its idempotency key."""
    if idempotency_key is None:
        return options
    fields = httpx.Headers(options.get("headers"))
    fields[headers.IDEMPOTENCY_KEY] = f'"{idempotency_key}"'
    return {**options, "headers": fields}
