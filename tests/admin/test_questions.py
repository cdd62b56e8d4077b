"""What a job asks, on the operation's page, and the form to answer it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils.timezone import get_current_timezone
from pytest_django import Settings

from async_reply import services
from async_reply.models import Operation, OperationStep
from async_reply.testing import run_operations
from tests.admin.conftest import messages, page
from tests.project.tasks import approve

pytestmark = pytest.mark.django_db

VIEW, ANSWER = "view_operation", "answer_operation"
NOT_OPEN = "It was answered already, or nobody waits for an answer any more."


@pytest.fixture
def asked() -> Operation:
    """An operation whose job asks for an approval."""
    operation = services.submit(approve, owner="ada")
    run_operations()
    operation.refresh_from_db()
    return operation


def text_of(client: Client, operation: Operation) -> str:
    return str(client.get(page(operation)).content.decode())


def form_of(operation: Operation, name: str = "approve") -> str:
    return reverse("admin:async_reply_operation_answer", args=[operation.pk, name])


def post(client: Client, operation: Operation, **data: Any) -> Any:
    return client.post(form_of(operation), data, follow=True)


def row_of(operation: Operation) -> OperationStep:
    row: OperationStep = OperationStep.objects.get(operation=operation, sort="question")
    return row


def test_page__shows_the_question_with_a_form(
    asked: Operation, staff_client: Callable[..., Client]
) -> None:
    text = text_of(staff_client(VIEW, ANSWER), asked)
    row = row_of(asked)
    assert row.since is not None
    assert row.until is not None
    assert "The job asks: approve" in text
    assert "May the invoice be paid?" in text
    for moment in (row.since, row.until):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        local = aware.astimezone(get_current_timezone())
        assert local.strftime("%Y-%m-%d %H:%M:%S") in text
    assert form_of(asked) in text
    for name in ("approved", "note", "day"):
        assert f'name="{name}"' in text


def test_page__without_the_permission_has_no_form(
    asked: Operation, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(VIEW)
    text = text_of(client, asked)
    assert "May the invoice be paid?" in text
    assert form_of(asked) not in text
    assert 'name="approved"' not in text
    assert client.post(form_of(asked), {"approved": "true"}).status_code == 403
    assert row_of(asked).is_open


def test_page__of_an_operation_that_asks_nothing(admin_client: Client) -> None:
    assert "The job asks" not in text_of(admin_client, services.submit(approve))


def test_page__of_a_question_that_the_task_no_longer_declares(
    asked: Operation, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approve, "kind", replace(approve.kind, asks={}))
    text = text_of(admin_client, asked)
    assert "The job asks: approve" in text
    assert "does not declare this question any more" in text
    assert form_of(asked) not in text
    assert "left as it is" in messages(post(admin_client, asked, approved="true"))[0]


def test_answer__is_stored_and_the_job_goes_on(
    asked: Operation, staff_client: Callable[..., Client]
) -> None:
    client = staff_client(VIEW, ANSWER)
    response = post(client, asked, approved="true", note="fine", day="")
    assert messages(response) == ["The answer is stored, and 1 operation goes on."]
    assert response.redirect_chain[-1][0] == page(asked)
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Answer approve."
    assert row_of(asked).answered_by == f"staff-{entry.user_id}"
    run_operations()
    asked.refresh_from_db()
    assert asked.result.value == {"answer": {"approved": True, "note": "fine"}}


def test_answer__that_is_not_valid_is_shown_with_its_errors(
    asked: Operation, admin_client: Client
) -> None:
    response = post(admin_client, asked, approved="true", note="x" * 81, day="soon")
    text = response.content.decode()
    assert response.status_code == 200
    assert "The answer is not stored. Please correct it." in text
    assert "no more than 80 characters" in text
    assert text.count('aria-invalid="true"') == 2
    assert 'value="soon"' in text
    assert " checked>" in text
    assert row_of(asked).is_open
    assert LogEntry.objects.count() == 0


def test_answer__the_same_again_and_another(asked: Operation, admin_client: Client) -> None:
    for _ in range(2):
        texts = messages(post(admin_client, asked, approved="true"))
        assert texts == ["The answer is stored, and 1 operation goes on."]
    texts = messages(post(admin_client, asked))
    assert texts == [f"1 operation was left as it is: {NOT_OPEN}"]
    assert row_of(asked).value == '{"approved": true}'


def test_answer__that_is_not_valid_after_another(asked: Operation, admin_client: Client) -> None:
    services.answer(asked, "approve", {"approved": True})
    assert messages(post(admin_client, asked, day="soon")) == [NOT_OPEN]


def test_answer__after_a_cancel(asked: Operation, admin_client: Client, settings: Settings) -> None:
    services.cancel(asked)
    settings.LANGUAGE_CODE = "de"
    (text,) = messages(post(admin_client, asked, approved="true"))
    assert "oder niemand wartet mehr auf eine Antwort." in text
    assert row_of(asked).is_open


def test_answer__needs_post_and_an_operation(asked: Operation, admin_client: Client) -> None:
    assert admin_client.get(form_of(asked)).status_code == 405
    other = form_of(Operation(pk=UUID(int=1)))
    assert admin_client.post(other, {"approved": "true"}).status_code == 404


def test_page__in_german(asked: Operation, admin_client: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    text = text_of(admin_client, asked)
    assert "Der Job fragt: approve" in text
    assert "Antwort senden" in text


@pytest.mark.parametrize(
    ("end", "note"),
    [
        pytest.param(lambda _operation: None, "question", id="open"),
        pytest.param(
            lambda row: services.answer(row, "approve", {"approved": False}, by="7"),
            "question, answered by 7",
            id="answered",
        ),
        pytest.param(
            lambda _operation: run_operations(advance=True),
            "question, which nobody answered until ",
            id="no-answer",
        ),
    ],
)
def test_steps__say_what_became_of_a_question(
    asked: Operation, admin_client: Client, end: Callable[[Operation], Any], note: str
) -> None:
    end(asked)
    assert f'<span class="async-reply-note">{note}' in text_of(admin_client, asked)
