import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from async_reply.models import Operation
from async_reply.status import FINAL, Status
from async_reply.testing import run_operations
from tests.admin.conftest import LIST, button, messages, page
from tests.project import tasks

NAMES = ("cancel", "rerun", "delete")
PERMISSIONS = {name: f"{name}_operation" for name in NAMES}


def act(client: Client, name: str, *operations: Operation | str, **data: Any) -> Any:
    """Tick operations, choose the action, and follow to the page it leads to."""
    selected = [str(getattr(each, "pk", each)) for each in operations]
    fields = {"action": f"{name}_operations", "_selected_action": selected, **data}
    return client.post(data.pop("url", LIST), fields, follow=True)


def offered(client: Client, operation: Operation) -> list[str]:
    """The buttons on an operation's page."""
    text = client.get(page(operation)).content.decode()
    return re.findall(rf"/{operation.pk}/actions/(\w+)/", text)


def test_cancel__tells_what_it_did_and_what_not(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    made = {each: in_status(each) for each in sorted(Status, key=lambda each: each == "pending")}
    response = act(admin_client, "cancel", *made.values(), uuid4().hex)
    assert [
        "4 operations were canceled or asked to stop.",
        "1 operation was left as it is: The operation has already succeeded.",
        "1 operation was left as it is: The operation has already failed.",
        "1 operation was left as it is: The operation no longer exists.",
    ] == sorted(
        messages(response), key=lambda text: ("4" not in text, "longer" in text, -len(text))
    )
    reached = dict(Operation.objects.values_list("pk", "status"))
    assert Status.CANCELED == reached[made[Status.PENDING].pk]
    assert Status.CANCELING == reached[made[Status.RUNNING].pk]


def test_cancel__leaves_a_running_one_that_cannot_be_stopped(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.persist)
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    assert [
        "1 operation was left as it is: This operation is running and cannot be canceled."
    ] == messages(act(admin_client, "cancel", operation))


def test_cancel__acts_on_those_that_left_the_filter_meanwhile(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    response = act(admin_client, "cancel", operation, url=f"{LIST}?status=pending")
    assert ["1 operation was canceled or asked to stop."] == messages(response)


def test_rerun__submits_again_and_reports_refusals(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    done, gone = in_status(Status.SUCCEEDED, number=7), in_status(Status.SUCCEEDED)
    act(admin_client, "delete", gone, confirmed="yes")
    unknown = Operation.objects.create(kind="tests.gone", status=Status.FAILED)
    reported = messages(act(admin_client, "rerun", done, gone, unknown, submit()))
    assert "1 operation was submitted again, as a new one." == reported[0]
    assert 4 == len(reported)
    assert ["removed" in reported[1], "tests.gone" in reported[2], "finished" in reported[3]] == [
        True,
        True,
        True,
    ]
    assert {"number": 7} == done.reruns.get().input


def test_rerun__says_that_a_file_is_lost(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.read, title="a", files=[SimpleUploadedFile("a.txt", b"a")])
    run_operations()
    row = operation.files.get()
    row.file.storage.delete(row.file.name)
    assert [
        "1 operation was left as it is: The storage did not give a file: see the log."
    ] == messages(act(admin_client, "rerun", operation))
    assert 1 == Operation.objects.count()


def test_delete__asks_first(in_status: Callable[..., Operation], admin_client: Client) -> None:
    operation = in_status(Status.SUCCEEDED, number=7)
    response = act(admin_client, "delete", operation)
    text = response.content.decode()
    assert "Are you sure?" in text
    assert f'name="_selected_action" value="{operation.pk}"' in text
    assert 'name="action" value="delete_operations"' in text
    operation.refresh_from_db()
    assert operation.deleted_at is None


def test_delete__leaves_a_tombstone(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED, number=7)
    response = act(admin_client, "delete", operation, submit(), confirmed="yes")
    assert [
        "The content of 1 operation was removed.",
        "1 operation was left as it is: Only a finished operation can be deleted: "
        "cancel it first, or wait.",
    ] == messages(response)
    operation.refresh_from_db()
    assert operation.was_deleted
    assert {} == operation.input
    assert not hasattr(operation, "result")
    assert [
        "1 operation was left as it is: The operation's content was removed before."
    ] == messages(act(admin_client, "delete", operation, confirmed="yes"))


@pytest.mark.parametrize("across", ["1", "true"])
def test_actions__refuse_to_act_across_pages(
    submit: Callable[..., Operation], admin_client: Client, across: str
) -> None:
    operation = submit()
    response = act(admin_client, "cancel", operation, select_across=across)
    assert ["Actions take the operations ticked on one page: nothing was done."] == messages(
        response
    )
    operation.refresh_from_db()
    assert Status.PENDING == operation.status


def test_actions__do_not_offer_to_act_across_pages(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_reply.admin.operations.OperationAdmin.list_per_page", 1)
    submit(), submit()
    assert "Select all" not in admin_client.get(LIST).content.decode().replace(
        "Select all operations", ""
    )


def test_actions__refuse_a_malformed_selection(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    response = act(admin_client, "cancel", submit(), "nonsense")
    assert ["The selection names something else than operations: nothing was done."] == messages(
        response
    )
    assert not Operation.objects.exclude(status=Status.PENDING)


@pytest.mark.parametrize("name", NAMES)
def test_actions__are_offered_by_permission(
    submit: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    submit()
    response = staff_client("view_operation", PERMISSIONS[name]).get(LIST)
    assert [f"{name}_operations"] == re.findall(r'<option value="(\w+)"', response.content.decode())


@pytest.mark.parametrize("name", NAMES)
def test_actions__do_nothing_without_permission(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    operation = in_status(Status.PENDING if name == "cancel" else Status.SUCCEEDED)
    client = staff_client(
        "view_operation", *(PERMISSIONS[other] for other in NAMES if other != name)
    )
    act(client, name, operation, confirmed="yes")
    assert 403 == client.post(button(operation, name), {"confirmed": "yes"}).status_code
    after = Operation.objects.get()
    assert (operation.status, None) == (after.status, after.deleted_at)


@pytest.mark.parametrize("name", NAMES)
def test_buttons__need_permission_to_view(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    operation = in_status(Status.SUCCEEDED)
    assert 403 == staff_client(PERMISSIONS[name]).post(button(operation, name)).status_code


@pytest.mark.parametrize("name", NAMES)
def test_buttons__are_posted_with_a_token(
    in_status: Callable[..., Operation], admin_client: Client, admin_user: Any, name: str
) -> None:
    operation = in_status(Status.SUCCEEDED)
    refused = admin_client.get(button(operation, name))
    assert (405, "POST") == (refused.status_code, refused["Allow"])
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert 403 == strict.post(button(operation, name), {"confirmed": "yes"}).status_code


@pytest.mark.parametrize("status", Status)
def test_buttons__show_what_the_status_allows(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    expected = ["rerun", "delete"] if status in FINAL else []
    if status in (Status.PENDING, Status.RUNNING):
        expected = ["cancel"]
    assert expected == offered(admin_client, in_status(status))


def test_buttons__are_offered_by_permission(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client]
) -> None:
    operation = in_status(Status.SUCCEEDED)
    assert ["delete"] == offered(staff_client("view_operation", "delete_operation"), operation)


def test_buttons__do_not_stop_what_cannot_be_stopped(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.persist)
    assert ["cancel"] == offered(admin_client, operation)
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    assert [] == offered(admin_client, operation)


def test_cancel_button__cancels_and_returns(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    response = admin_client.post(button(operation, "cancel"), follow=True)
    assert [(page(operation), 302)] == response.redirect_chain  # type: ignore[attr-defined]
    assert ["1 operation was canceled or asked to stop."] == messages(response)
    operation.refresh_from_db()
    assert Status.CANCELED == operation.status


def test_rerun_button__leads_to_the_new_operation(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    response = admin_client.post(button(operation, "rerun"))
    assert page(operation.reruns.get()) == response["Location"]


def test_delete_button__asks_first_and_then_deletes(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    asked = admin_client.post(button(operation, "delete")).content.decode()
    assert f"<strong>{operation}</strong>" in asked
    admin_client.post(button(operation, "delete"), {"confirmed": "yes"})
    operation.refresh_from_db()
    assert operation.was_deleted
    assert [] == offered(admin_client, operation)


def test_buttons__report_a_refusal(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    response = admin_client.post(button(operation, "cancel"), follow=True)
    assert ["1 operation was left as it is: The operation has already succeeded."] == messages(
        response
    )


def test_buttons__unknown_operation_or_name_is_not_found(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    assert 404 == admin_client.post(button(submit(), "explode")).status_code
    assert 404 == admin_client.post(button(Operation(), "cancel")).status_code


def test_actions__are_kept_in_the_history(
    submit: Callable[..., Operation], admin_client: Client, admin_user: Any
) -> None:
    operation = submit()
    admin_client.post(button(operation, "cancel"))
    entry = LogEntry.objects.get()
    assert (str(operation.pk), admin_user.pk) == (entry.object_id, entry.user_id)
    assert "Cancel." == entry.get_change_message()
