"""The stored steps on an operation's page, and their buttons."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from async_reply import services
from async_reply.admin import steps
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.models import Operation, OperationStep
from async_reply.testing import run_operations
from tests.admin.conftest import messages, page
from tests.project.tasks import approve, echo

pytestmark = pytest.mark.django_db

VIEW, RERUN, PAYLOAD = "view_operation", "rerun_operation", "view_operation_payload"
ANSWER = "answer_operation"


@pytest.fixture
def make() -> Callable[..., Operation]:
    """Runs a job with a value and a file as steps, and a long value; it breaks if told to."""

    def run(*, breaks: bool = True) -> Operation:
        def job(operation: Job) -> None:
            operation.step("account", lambda: {"secret": "<b>"})
            operation.step("file", lambda: operation.file(b"x", name="a.txt"))
            operation.step("long", lambda: "y" * 600)
            if breaks:
                raise ValueError

        operation = services.submit(echo)
        kind = Kind(name=echo.name, function=job)
        runner.run(operation.pk, kind, worker="w", inline=True)
        operation.refresh_from_db()
        return operation

    return run


def text_of(client: Client, operation: Operation) -> str:
    return str(client.get(page(operation)).content.decode())


def from_step(operation: Operation, ordinal: int) -> str:
    return reverse("admin:async_reply_operation_rerun_from", args=[operation.pk, ordinal])


def buttons(text: str) -> list[str]:
    return re.findall(r"/rerun-from/(\d+)/", text)


def test_steps__are_shown_with_their_values(
    make: Callable[..., Operation], admin_client: Client
) -> None:
    text = text_of(admin_client, make())
    assert "Stored steps" in text
    assert "&lt;b&gt;" in text
    assert ">a.txt</a>" in text
    assert "y" * 400 in text
    assert "y" * 500 not in text
    assert buttons(text) == ["1", "2", "3", "4"]


def test_steps__values_are_for_those_who_may_see_payloads(
    make: Callable[..., Operation], staff_client: Callable[..., Client]
) -> None:
    operation = make()
    text = text_of(staff_client(VIEW), operation)
    assert "account" in text
    assert not any(part in text for part in ("secret", "a.txt", "yyy"))
    assert buttons(text) == []


def test_steps__of_a_success_offer_nothing_behind_the_last(
    make: Callable[..., Operation], admin_client: Client
) -> None:
    assert buttons(text_of(admin_client, make(breaks=False))) == ["1", "2", "3"]


def test_steps__page_shows_the_last_ones(
    make: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "MAX_STEPS", 2)
    text = text_of(admin_client, make())
    assert "There are more steps. The page shows the last 2." in text
    assert buttons(text) == ["2", "3", "4"]


def test_steps__of_an_operation_without_any(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    assert "Stored steps" not in text_of(admin_client, submit())


def test_rerun_from__asks_and_then_submits_a_new_operation(
    make: Callable[..., Operation], staff_client: Callable[..., Client]
) -> None:
    operation, client = make(), staff_client(VIEW, RERUN)
    question = client.post(from_step(operation, 3)).content.decode()
    assert "Rerun from step 3" in question
    assert "copies of the steps before" in question
    assert Operation.objects.count() == 1
    response: Any = client.post(from_step(operation, 3), {"confirmed": "1"}, follow=True)
    assert messages(response) == ["1 operation was submitted again, as a new one."]
    again = Operation.objects.get(rerun_of=operation)
    assert response.redirect_chain[-1][0] == page(again)
    assert [row.name for row in OperationStep.of(again)] == ["account", "file"]
    assert LogEntry.objects.get().get_change_message() == "Rerun from step 3."
    assert ">copied<" in text_of(client, again)


@pytest.fixture
def answered() -> Operation:
    """An operation that has asked, and got an answer."""
    operation = services.submit(approve)
    run_operations()
    services.answer(Operation.objects.get(), "approve", {"approved": True}, by="7")
    run_operations()
    operation.refresh_from_db()
    return operation


def test_rerun_from__keeps_answers_if_told_to(
    answered: Operation, staff_client: Callable[..., Client]
) -> None:
    client, url = staff_client(VIEW, RERUN, ANSWER), from_step(answered, 2)
    assert 'name="keep_answers"' in client.post(url).content.decode()
    client.post(url, {"confirmed": "1", "keep_answers": "1"})
    again = Operation.objects.get(rerun_of=answered)
    assert [row.name for row in OperationStep.of(again)] == ["approve"]
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Rerun from step 2 with its answers."
    client.post(url, {"confirmed": "1"})
    assert [row.steps for row in answered.reruns.order_by("pk")] == [1, 0]


def test_rerun_from__keeps_answers_for_who_may_answer(
    answered: Operation, staff_client: Callable[..., Client]
) -> None:
    client, url = staff_client(VIEW, RERUN), from_step(answered, 2)
    assert "keep_answers" not in client.post(url).content.decode()
    keeping = client.post(url, {"confirmed": "1", "keep_answers": "1"})
    assert keeping.status_code == 403
    assert not answered.reruns.exists()


def test_rerun_from__offers_answers_of_earlier_steps_alone(
    answered: Operation, admin_client: Client
) -> None:
    page = admin_client.post(from_step(answered, 1)).content.decode()
    assert "Rerun from step 1" in page
    assert "keep_answers" not in page


def test_rerun_from__a_step_that_is_not_there(
    make: Callable[..., Operation], admin_client: Client
) -> None:
    operation = make()
    response = admin_client.post(from_step(operation, 9), {"confirmed": "1"}, follow=True)
    assert "has stored no step 9" in messages(response)[0]
    assert Operation.objects.count() == 1


def test_rerun_from__needs_post_and_the_permission(
    make: Callable[..., Operation], staff_client: Callable[..., Client], admin_client: Client
) -> None:
    url = from_step(make(), 1)
    assert admin_client.get(url).status_code == 405
    assert staff_client(VIEW, PAYLOAD).post(url, {"confirmed": "1"}).status_code == 403
    assert Operation.objects.count() == 1
