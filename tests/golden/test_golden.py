"""Whole HTTP conversations, compared with files that a person can read.

UPDATE_GOLDEN=1 writes the files anew. Read the difference before you commit it.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from rest_framework.test import APIClient

from async_reply import documents, lifecycle
from async_reply.models import Operation
from async_reply.protocol import problems
from async_reply.services import retention
from async_reply.testing import run_operations
from tests.event_log import event, flush, store

pytestmark = pytest.mark.django_db

GOLDEN = Path(__file__).parents[1] / "golden"
MASKS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "{id}"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "{time}"),
    (re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "{date}"),
    (re.compile(r"(?<=[?]sig=)[\w:.-]+"), "{key}"),
    (re.compile(r"(?m)^retry: \d+$"), "retry: {milliseconds}"),
    (re.compile(r'"eta_seconds": \d+\.\d+'), '"eta_seconds": {seconds}'),
)
# Fields that Django's middleware adds to each answer: no part of the protocol.
MIDDLEWARE_FIELDS = {
    "X-Frame-Options",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Content-Length",
}
MIDDLEWARE_FIELDS |= {"Cross-Origin-Opener-Policy"}


class Conversation:
    """Sends requests, and writes down requests and answers."""

    def __init__(self, client: APIClient) -> None:
        self.client = client
        self.lines: list[str] = []

    def say(self, method: str, url: str, body: Any = None, **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.client.generic(
            method,
            url,
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=fields,
        )
        self.lines.append(f"{method} {url.removeprefix('http://testserver')}")
        self.lines += [f"{name}: {value}" for name, value in fields.items()]
        if body is not None:
            self.lines += ["", json.dumps(body)]
        self.lines += ["", f"{response.status_code} {problems.PHRASES[response.status_code]}"]
        response_fields = sorted(
            (name, value) for name, value in response.items() if name not in MIDDLEWARE_FIELDS
        )
        self.lines += [f"{name}: {value}" for name, value in response_fields]
        content = response.getvalue().decode()
        if content:
            is_json = response["Content-Type"].endswith("json")
            self.lines += ["", json.dumps(json.loads(content), indent=2) if is_json else content]
        self.lines += ["", "-" * 72, ""]
        return response

    @property
    def text(self) -> str:
        text = "\n".join(self.lines)
        for pattern, mask in MASKS:
            text = pattern.sub(mask, text)
        return text


@pytest.fixture
def conversation(api: APIClient, request: pytest.FixtureRequest) -> Iterator[Conversation]:
    """A conversation that is compared with `tests/golden/<name of the test>.http` at the end."""
    conversation = Conversation(api)
    yield conversation
    name = request.node.name.removeprefix("test_conversation__")
    path = GOLDEN / f"{name}.http"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(conversation.text)
    assert path.read_text() == conversation.text


def start(conversation: Conversation) -> Operation:
    """Claim the only operation for a worker."""
    operation: Operation = Operation.objects.get()
    assert lifecycle.claim(operation, worker="w1")
    return operation


def test_conversation__success(conversation: Conversation) -> None:
    links = conversation.say("POST", "/echoes/", {"number": 7}).json()["links"]
    conversation.say("GET", links["self"])
    operation = start(conversation)
    lifecycle.beat(operation, progress=40, message="page 4 of 10")
    tag = conversation.say("GET", links["monitor"])["ETag"]
    conversation.say("GET", links["monitor"], If_None_Match=tag)
    conversation.say("GET", links["result"])
    lifecycle.release(operation)
    run_operations()
    conversation.say("GET", links["self"])
    conversation.say("GET", links["monitor"])
    conversation.say("GET", links["result"])
    conversation.say("DELETE", links["self"])
    conversation.say("GET", links["self"])


def test_conversation__failure(conversation: Conversation) -> None:
    links = conversation.say("POST", "/refusals/", {}).json()["links"]
    run_operations()
    conversation.say("GET", links["self"])
    conversation.say("GET", links["monitor"])
    conversation.say("GET", links["result"])
    conversation.say("POST", links["cancel"])


def test_conversation__cancel(conversation: Conversation) -> None:
    links = conversation.say("POST", "/echoes/", {}).json()["links"]
    operation = start(conversation)
    conversation.say("POST", links["cancel"])
    conversation.say("DELETE", links["self"])
    assert lifecycle.end_canceled(operation)
    conversation.say("POST", links["cancel"])
    conversation.say("GET", links["self"])
    conversation.say("GET", links["result"])


def test_conversation__idempotency(conversation: Conversation) -> None:
    conversation.say("POST", "/echoes/", {"number": 7}, Idempotency_Key='"a-1"')
    run_operations()
    conversation.say("POST", "/echoes/", {"number": 7}, Idempotency_Key='"a-1"')
    conversation.say("POST", "/echoes/", {"number": 8}, Idempotency_Key='"a-1"')


def test_conversation__errors(
    conversation: Conversation,
    client_of: Callable[..., APIClient],
    stranger: AbstractBaseUser,
) -> None:
    conversation.say("POST", "/echoes/", {"number": "seven"})
    conversation.say("PUT", "/echoes/", {})
    links = conversation.say("POST", "/echoes/", {}).json()["links"]
    conversation.client = client_of(stranger)
    conversation.say("GET", links["self"])
    conversation.say("GET", "/api/operations/not-an-id/")
    conversation.client = client_of()
    conversation.say("GET", links["self"])


def test_conversation__file(conversation: Conversation) -> None:
    links = conversation.say("POST", "/exports/", {}).json()["links"]
    run_operations()
    conversation.say("GET", links["self"])
    tag = conversation.say("GET", links["result"])["ETag"]
    conversation.say("HEAD", links["result"])
    conversation.say("GET", links["result"], Range="bytes=4-5", If_Range=tag)
    conversation.say("GET", links["result"], Range="bytes=4-5", If_Range='"another"')
    conversation.say("GET", links["result"], If_None_Match=tag)


def test_conversation__list(conversation: Conversation) -> None:
    conversation.say("POST", "/echoes/", {"number": 7})
    run_operations()
    conversation.say("GET", "/api/operations/?status=succeeded")


def test_conversation__dialect(conversation: Conversation) -> None:
    """A submit view with other headers: every attribute has a value that is not the default."""
    body = {"number": 7}
    key = {"Idempotency_Key": "a-1", "Prefer": "respond-async"}
    links = conversation.say("POST", "/dressed/", body, **key).json()["links"]
    conversation.say("GET", links["result"])
    run_operations()
    conversation.say("GET", links["self"])
    conversation.say("GET", links["result"])


def test_conversation__created(conversation: Conversation) -> None:
    links = conversation.say("POST", "/creations/", {}).json()["links"]
    run_operations()
    conversation.say("GET", links["self"])
    resource = conversation.say("GET", links["result"])["Location"]
    conversation.say("GET", resource)


def test_conversation__signed(
    conversation: Conversation, client_of: Callable[..., APIClient]
) -> None:
    conversation.client = client_of()
    links = conversation.say("POST", "/open/", {"number": 7}).json()["links"]
    run_operations()
    conversation.say("GET", links["self"])
    conversation.say("GET", links["result"])
    conversation.say("GET", links["result"].partition("?")[0])
    conversation.say("GET", links["result"] + "x")


def test_conversation__expired(conversation: Conversation) -> None:
    links = conversation.say("POST", "/echoes/", {}).json()["links"]
    run_operations()
    past = timezone.now() - timedelta(seconds=1)
    Operation.objects.update(expires_at=past, purge_at=past)
    conversation.say("GET", links["self"])
    conversation.say("GET", links["result"])
    assert retention.purge() == 1
    Operation.objects.update(purge_at=past)
    assert retention.purge() == 1
    conversation.say("GET", links["self"])


def test_conversation__browser(conversation: Conversation) -> None:
    """A page of another origin. The project's CORS middleware would add more headers."""
    page = {"Origin": "https://page.example"}
    links = conversation.say("POST", "/echoes/", {}, **page).json()["links"]
    run_operations()
    conversation.say("GET", links["self"], **page)
    conversation.say("GET", links["result"], **page)


def ask(conversation: Conversation) -> tuple[dict[str, str], str]:
    """Submit a job that asks, and let it ask: the links, and the one of the question."""
    links = conversation.say("POST", "/approvals/", {}).json()["links"]
    run_operations()
    return links, conversation.say("GET", links["self"]).json()["input_required"]["link"]


def test_conversation__asked(conversation: Conversation) -> None:
    links, question = ask(conversation)
    conversation.say("GET", question)
    conversation.say("POST", question, {"approved": "perhaps"})
    conversation.say("POST", question, {"approved": True})
    conversation.say("POST", question, {"approved": True})
    conversation.say("POST", question, {"approved": False})
    conversation.say("GET", question)
    conversation.say("GET", links["self"])
    run_operations()
    conversation.say("GET", links["result"])
    conversation.say("POST", question, {"approved": True})


def test_conversation__asked_in_vain(conversation: Conversation) -> None:
    links, question = ask(conversation)
    run_operations(advance=True)
    conversation.say("POST", question, {"approved": True})
    conversation.say("GET", links["result"])


def test_conversation__asked_and_canceled(conversation: Conversation) -> None:
    links, question = ask(conversation)
    conversation.say("POST", links["cancel"])
    conversation.say("POST", question, {"approved": True})
    conversation.say("GET", question)


def test_conversation__asked_by_a_stranger(
    conversation: Conversation,
    client_of: Callable[..., APIClient],
    stranger: AbstractBaseUser,
) -> None:
    _links, question = ask(conversation)
    conversation.client = client_of(stranger)
    conversation.say("GET", question)
    conversation.say("POST", question, {"approved": True})
    conversation.client = client_of()
    conversation.say("POST", question, {"approved": True})


def test_conversation__asked_by_e_mail(
    conversation: Conversation, client_of: Callable[..., APIClient]
) -> None:
    links, _question = ask(conversation)
    url = documents.input_link_at(Operation.objects.get(), "http://testserver", "approve")
    conversation.client = client_of()
    conversation.say("GET", url, Accept="text/html,*/*;q=0.8")
    conversation.say("GET", f"{links['self']}?{url.partition('?')[2]}")
    conversation.say("POST", url, {"approved": "perhaps"}, Accept="text/html", Accept_Language="de")
    conversation.say("POST", url, {"approved": True}, Accept="text/html")
    conversation.say("GET", url, Accept="text/html")


def test_conversation__asked_while_clients_wait(conversation: Conversation) -> None:
    links, question = ask(conversation)
    conversation.say("GET", links["monitor"], Prefer="wait=0")
    conversation.say("GET", links["events"])
    conversation.say("POST", question, {"approved": True})
    conversation.say("GET", links["events"], Last_Event_ID="3")


def test_conversation__log(conversation: Conversation) -> None:
    links = conversation.say("POST", "/echoes/", {"number": 7}).json()["links"]
    operation = start(conversation)
    conversation.say("GET", links["log"])
    flush(operation, 2)
    flush(operation, 2, private={3})
    conversation.say("GET", links["log"])
    conversation.say("HEAD", f"{links['log']}?after=2")
    conversation.say("GET", f"{links['log']}?after=4", Prefer="wait=0")
    conversation.say("GET", f"{links['log']}?after=x")
    lifecycle.succeed(operation)
    conversation.say("GET", f"{links['log']}?after=4")
    conversation.say("GET", f"{links['log']}?after=5")
    conversation.say("GET", links["log"], Accept="text/event-stream", Last_Event_ID="1")
    conversation.say("GET", links["log"], Accept="text/event-stream", Last_Event_ID="5")


def test_conversation__log_with_a_reset_and_gaps(conversation: Conversation) -> None:
    links = conversation.say("POST", "/echoes/", {"number": 7}).json()["links"]
    operation = start(conversation)
    Operation.objects.update(events=9)
    reset = event(7, "reset", data={"after": 4})
    store(operation, [event(3), event(4), event(6), reset, event(8)])
    conversation.say("GET", links["log"])
    conversation.say("GET", links["log"], Accept="text/event-stream", Last_Event_ID="4")


def test_conversation__log_by_a_valet_key(
    conversation: Conversation, client_of: Callable[..., APIClient], stranger: AbstractBaseUser
) -> None:
    conversation.client = client_of()
    links = conversation.say("POST", "/open/", {"number": 7}).json()["links"]
    operation = start(conversation)
    flush(operation)
    conversation.say("GET", links["log"])
    conversation.say("GET", links["log"] + "x")
    conversation.say("GET", links["log"].partition("?")[0])
    conversation.client = client_of(stranger)
    conversation.say("GET", links["log"].partition("?")[0])
    lifecycle.succeed(operation)
    Operation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    conversation.say("GET", links["log"])
