"""The commands to the process of a running operation, as buttons of its page."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from async_reply import lifecycle
from async_reply.attempts import claims
from async_reply.attempts.claims import Claim
from async_reply.database.clock import after
from async_reply.models import Operation, ProcessCommand, Worker
from async_reply.status import ACTIVE, Status
from tests.admin.conftest import button, messages, page

LABELS = {"show-stack": "Where is it now", "end-process": "End its process"}
PERMISSIONS = {"show-stack": "view_operation_payload", "end-process": "end_operation_process"}
SHARED = "Its process cannot be ended"


def text_of(client: Client, operation: Operation) -> str:
    return str(client.get(page(operation)).content.decode())


def buttons(text: str) -> set[str]:
    return set(re.findall(r"/actions/([\w-]+)/", text)) & set(LABELS)


@pytest.mark.parametrize("status", Status)
def test_buttons__are_offered_while_the_operation_runs(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    text = text_of(admin_client, in_status(status))
    assert buttons(text) == (set(LABELS) if status in ACTIVE else set())


@pytest.mark.parametrize("name", LABELS)
def test_buttons__need_their_permission(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    operation = in_status(Status.RUNNING)
    client = staff_client("view_operation", PERMISSIONS[name])
    (other,) = set(LABELS) - {name}
    assert buttons(text_of(client, operation)) == {name}
    assert client.post(button(operation, other)).status_code == 403


def test_show_stack__shows_the_answer_to_those_who_may_see_the_payload(
    in_status: Callable[..., Operation], admin_client: Client, staff_client: Callable[..., Client]
) -> None:
    operation = in_status(Status.RUNNING)
    claim = Claim(operation, inline=False)
    response = admin_client.post(button(operation, "show-stack"), follow=True)
    assert messages(response) == ["The process of 1 operation was asked where its job is."]
    assert "has not answered yet" in response.content.decode()
    claims.beat([claim])
    call = "in test_show_stack__shows_the_answer_to_those_who_may_see_the_payload"
    assert call in text_of(admin_client, operation)
    assert call not in text_of(staff_client("view_operation"), operation)


@pytest.mark.parametrize(("seconds", "is_told"), [(-60, True), (-5, False), (20, False)])
def test_page__says_that_the_process_is_silent_once_its_lease_is_over(
    in_status: Callable[..., Operation], admin_client: Client, seconds: int, is_told: bool
) -> None:
    """Without a living worker the operation stays "running", and no command reaches a process."""
    operation = in_status(Status.RUNNING)
    Operation.objects.update(lease_expires_at=after(seconds))
    text = text_of(admin_client, operation)
    assert ("dead or frozen" in text, " disabled " in text) == (is_told, is_told)


@pytest.mark.parametrize(
    ("fields", "consequence"),
    [
        ({"max_losses": 2, "losses": 1}, "run again. Losses that are left: 1."),
        ({"max_losses": 0}, "the operation then fails"),
        ({"status": Status.CANCELING}, "The operation is then canceled."),
    ],
)
def test_end_process__asks_and_says_what_follows(
    in_status: Callable[..., Operation],
    admin_client: Client,
    fields: dict[str, Any],
    consequence: str,
) -> None:
    operation = in_status(Status.RUNNING)
    Operation.objects.update(**fields)
    url = button(operation, "end-process")
    question = admin_client.post(url).content.decode()
    assert "The process is killed in the middle of the job." in question
    assert consequence in question
    assert not ProcessCommand.objects.exists()
    response = admin_client.post(url, {"confirmed": "1"}, follow=True)
    assert "told to end" in messages(response)[0]
    assert ProcessCommand.objects.get().name == ProcessCommand.Name.END
    assert "An operator told its process to end at" in response.content.decode()
    assert LogEntry.objects.get().change_message == "End its process."
    assert "admin: End its process." in response.content.decode()


def test_end_process__of_an_operation_that_has_just_ended_is_refused(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.RUNNING)
    assert lifecycle.release(operation)
    response = admin_client.post(button(operation, "end-process"), {"confirmed": "1"}, follow=True)
    assert messages(response)[0].startswith("1 operation was left as it is: No attempt")


@pytest.mark.parametrize(
    ("process", "is_shared"),
    [
        ("celery@host/7-9f2c01ab", True),
        ("celery@host/8-9f2c01ab", False),
        ("celery@host/7-00000000", False),
        ("w1", False),
    ],
    ids=["main process", "child", "other container", "shell"],
)
def test_end_process__is_disabled_for_a_process_that_is_the_worker(
    in_status: Callable[..., Operation], admin_client: Client, process: str, is_shared: bool
) -> None:
    Worker.objects.create(name="celery@host", pid=7, boot_id="9f2c01ab")
    operation = in_status(Status.RUNNING)
    Operation.objects.update(worker=process)
    text = text_of(admin_client, operation)
    assert (SHARED in text, "<button disabled" in text) == (is_shared, is_shared)
