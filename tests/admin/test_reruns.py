"""A rerun happens once for each page that offers it: double clicks, and two operators at once."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from async_reply.admin import commands, reruns
from async_reply.models import Operation
from async_reply.status import Status
from tests.admin.conftest import LIST, button, messages, page
from tests.admin.test_bulk import question, run, value_of

MEANWHILE = "The operation was rerun in the meantime: its page shows the new one."
LEFT = f"1 operation was left as it is: {MEANWHILE}"


def shown_at(client: Client, url: str) -> dict[str, str]:
    """The field of the page that says when it was shown."""
    [value, *_others] = re.findall(
        r'name="shown_at" value="([\d.]+)"', client.get(url).content.decode()
    )
    return {"shown_at": value}


@pytest.fixture
def failed(in_status: Callable[..., Operation]) -> Operation:
    return in_status(Status.FAILED)


def test_button__pressed_twice_reruns_once(failed: Operation, admin_client: Client) -> None:
    field = shown_at(admin_client, page(failed))
    url = button(failed, "rerun")
    assert messages(admin_client.post(url, field, follow=True)) == [
        "1 operation was submitted again, as a new one."
    ]
    response = admin_client.post(url, field, follow=True)
    assert (messages(response), failed.reruns.count()) == ([LEFT], 1)
    # The page that comes next shows the rerun, so it offers another one.
    admin_client.post(url, shown_at(admin_client, page(failed)))
    assert failed.reruns.count() == 2


def test_button__of_a_page_that_does_not_say_when_it_was_shown(
    failed: Operation, admin_client: Client
) -> None:
    for data in ({}, {"shown_at": "x"}):
        admin_client.post(button(failed, "rerun"), data)
    assert failed.reruns.count() == 2


def test_button__in_german_has_a_number_that_the_server_reads(
    failed: Operation, admin_client: Client
) -> None:
    admin_client.cookies["django_language"] = "de"
    assert float(shown_at(admin_client, page(failed))["shown_at"]) > 1e9


def test_action__sent_twice_reruns_once(failed: Operation, admin_client: Client) -> None:
    data = {
        "action": "rerun_operations",
        "_selected_action": str(failed.pk),
        **shown_at(admin_client, LIST),
    }
    responses = [admin_client.post(LIST, data, follow=True) for _ in range(2)]
    assert (messages(responses[1]), failed.reruns.count()) == ([LEFT], 1)


def test_run__at_the_same_moment_finds_the_operation_of_the_other(
    failed: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = reruns.key(failed, shown_at=1e9)
    monkeypatch.setattr(reruns, "key", lambda *_args, **_kwargs: key)
    returned = [commands.run(commands.RERUN, [failed], shown_at=1e9).done[0][1] for _ in range(2)]
    assert returned == [failed.reruns.get()] * 2


def test_bulk__answered_twice_is_one_operation(failed: Operation, admin_client: Client) -> None:
    _text, action = question(admin_client, "rerun", status="failed")
    first, second = (admin_client.post(action, {"confirmed": "yes"}) for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Operation.objects.filter(kind="async_reply.bulk").count() == 1
    Operation.objects.filter(kind="async_reply.bulk").update(status=Status.SUCCEEDED)
    bulk: Any = Operation.objects.get(kind="async_reply.bulk")
    commands.run(commands.DELETE, [bulk])
    response = admin_client.post(action, {"confirmed": "yes"}, follow=True)
    assert messages(response)[-1:] == [
        "This command was given already: ask for it in the list once more."
    ]


def test_bulk__leaves_what_another_operator_has_rerun_since_the_question(
    failed: Operation, admin_client: Client
) -> None:
    _text, action = question(admin_client, "rerun", status="failed")
    admin_client.post(button(failed, "rerun"), shown_at(admin_client, page(failed)))
    admin_client.post(action, {"confirmed": "yes"})
    assert value_of(run()) == {"done": 0, "left": {MEANWHILE: 1}}
    assert failed.reruns.count() == 1
