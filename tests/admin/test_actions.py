"""Actions of the list and buttons of an operation's page: commands, refusals, permissions."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from async_reply.admin import OperationAdmin, commands
from async_reply.models import Operation
from async_reply.status import FINAL, Status
from async_reply.testing import run_operations
from tests.admin.conftest import LIST, button, messages, page
from tests.failover import failover
from tests.project import tasks

NAMES = ("cancel", "rerun", "delete")
LEFT = "1 operation was left as it is: "
PERMISSIONS = {name: f"{name}_operation" for name in NAMES}


def act(client: Client, name: str, *operations: Operation | str, **data: Any) -> Any:
    """Select operations, choose the action, and return the page that follows."""
    selected = [str(getattr(operation, "pk", operation)) for operation in operations]
    fields = {"action": f"{name}_operations", "_selected_action": selected, **data}
    return client.post(data.pop("url", LIST), fields, follow=True)


def buttons(client: Client, operation: Operation) -> list[str]:
    """The buttons on an operation's page."""
    text = client.get(page(operation)).content.decode()
    return re.findall(rf"/{operation.pk}/actions/(\w+)/", text)


def test_cancel__reports_successes_and_refusals(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operations = {status: in_status(status) for status in Status}
    response = act(admin_client, "cancel", *operations.values(), uuid4().hex)
    assert messages(response) == [
        "3 operations were canceled or asked to stop.",
        LEFT + "The operation has already succeeded.",
        LEFT + "The operation has already failed.",
        LEFT + "The operation has already been canceled.",
        LEFT + "The operation no longer exists.",
    ]
    statuses = dict(Operation.objects.values_list("pk", "status"))
    assert statuses[operations[Status.PENDING].pk] == Status.CANCELED
    assert statuses[operations[Status.RUNNING].pk] == Status.CANCELING


def test_cancel__refuses_a_running_operation_that_cannot_be_canceled(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.persist)
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    assert messages(act(admin_client, "cancel", operation)) == [
        LEFT + "This operation has begun and cannot be canceled."
    ]


def test_cancel__acts_on_an_operation_that_the_filter_no_longer_shows(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    response = act(admin_client, "cancel", operation, url=f"{LIST}?status=pending")
    assert messages(response) == ["1 operation was canceled or asked to stop."]


def test_rerun__submits_again_and_reports_refusals(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    done, deleted = in_status(Status.SUCCEEDED, number=7), in_status(Status.SUCCEEDED)
    act(admin_client, "delete", deleted, confirmed="yes")
    unknown = Operation.objects.create(kind="tests.gone", status=Status.FAILED)
    reported = messages(act(admin_client, "rerun", done, deleted, unknown, submit()))
    assert reported[0] == "1 operation was submitted again, as a new one."
    for text, part in zip(reported[1:], ("removed", "tests.gone", "finished"), strict=True):
        assert part in text
    assert done.reruns.get().input == {"number": 7}


def test_rerun__happens_once_for_an_operation_selected_twice(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    act(admin_client, "rerun", operation, operation)
    assert operation.reruns.count() == 1


def test_rerun__reports_that_a_file_is_lost(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.read, title="a", files=[SimpleUploadedFile("a.txt", b"a")])
    run_operations()
    row = operation.files.get()
    row.file.delete(save=False)
    assert messages(act(admin_client, "rerun", operation)) == [
        LEFT + "The storage failed to copy a file: see the log."
    ]
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("name", ["cancel", "rerun", "delete", "show-stack", "end-process"])
def test_commands__of_rows_that_a_project_hides_are_refused(
    in_status: Callable[..., Operation],
    admin_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Permissions may depend on the row, as with django-guardian. The list shows it or not."""

    def is_of_eve(_self: Any, _request: Any, obj: Any = None) -> bool:
        return obj is None or obj.owner == "eve"

    operation = in_status(Status.FAILED)
    monkeypatch.setattr(OperationAdmin, "has_view_permission", is_of_eve)
    response = admin_client.post(button(operation, name), {"confirmed": "yes"})
    assert (response.status_code, Operation.objects.count()) == (403, 1)
    if name in NAMES:
        reported = messages(act(admin_client, name, operation, confirmed="yes"))
        assert reported == [LEFT + "The operation no longer exists."]
    operation.refresh_from_db()
    assert (operation.deleted_at, Operation.objects.count()) == (None, 1)


def test_delete__asks_for_confirmation(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED, number=7)
    response = act(admin_client, "delete", operation)
    text = response.content.decode()
    assert "Are you sure?" in text
    assert "The client is told that there is no such operation." in text
    assert f'name="_selected_action" value="{operation.pk}"' in text
    assert 'name="action" value="delete_operations"' in text
    operation.refresh_from_db()
    assert operation.deleted_at is None


def test_delete__leaves_a_tombstone(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED, number=7)
    response = act(admin_client, "delete", operation, submit(), confirmed="yes")
    assert messages(response) == [
        "The content of 1 operation was deleted.",
        LEFT + "Only a finished operation can be deleted: cancel it first, or wait.",
    ]
    operation.refresh_from_db()
    assert operation.was_deleted
    assert operation.input == {}
    assert not hasattr(operation, "result")
    assert messages(act(admin_client, "delete", operation, confirmed="yes")) == [
        LEFT + "The content was already deleted: nothing is left to do."
    ]


@pytest.mark.parametrize("across", ["1", "true"])
def test_actions__refuse_all_pages_at_once(
    submit: Callable[..., Operation], admin_client: Client, across: str
) -> None:
    operation = submit()
    response = act(admin_client, "cancel", operation, select_across=across)
    assert messages(response) == [
        "Nothing was done: an action works on the operations selected on one page."
    ]
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


def test_actions__do_not_offer_to_select_all_pages(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_reply.admin.operations.OperationAdmin.list_per_page", 1)
    for _ in range(2):
        submit()
    text = admin_client.get(LIST).content.decode()
    assert "2 operations" in text
    assert "Select all 2" not in text
    # Django's script fails at each selection if the counter is missing.
    assert '<span class="action-counter" data-actions-icnt="1"' in text


def test_actions__refuse_a_malformed_selection(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    response = act(admin_client, "cancel", submit(), "nonsense")
    assert messages(response) == [
        "Nothing was done: the selection contains an id that is malformed."
    ]
    assert not Operation.objects.exclude(status=Status.PENDING)


@pytest.mark.parametrize("name", NAMES)
def test_actions__are_offered_with_their_permission_only(
    submit: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    submit()
    response = staff_client("view_operation", PERMISSIONS[name]).get(LIST)
    assert [f"{name}_operations"] == re.findall(r'<option value="(\w+)"', response.content.decode())


@pytest.mark.parametrize("name", NAMES)
def test_actions__without_their_permission_do_nothing(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    operation = in_status(Status.PENDING if name == "cancel" else Status.SUCCEEDED)
    client = staff_client(
        "view_operation", *(PERMISSIONS[other] for other in NAMES if other != name)
    )
    act(client, name, operation, confirmed="yes")
    assert client.post(button(operation, name), {"confirmed": "yes"}).status_code == 403
    after = Operation.objects.get()
    assert (operation.status, None) == (after.status, after.deleted_at)


@pytest.mark.parametrize("name", NAMES)
def test_buttons__without_the_permission_to_view_are_refused(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    operation = in_status(Status.SUCCEEDED)
    assert staff_client(PERMISSIONS[name]).post(button(operation, name)).status_code == 403


@pytest.mark.parametrize("name", NAMES)
def test_buttons__need_a_post_with_a_csrf_token(
    in_status: Callable[..., Operation], admin_client: Client, admin_user: Any, name: str
) -> None:
    operation = in_status(Status.SUCCEEDED)
    refused = admin_client.get(button(operation, name))
    assert (refused.status_code, refused["Allow"]) == (405, "POST")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(button(operation, name), {"confirmed": "yes"}).status_code == 403


@pytest.mark.parametrize("status", Status)
def test_buttons__are_those_that_the_status_allows(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    expected = ["rerun", "delete"] if status in FINAL else []
    if status in (Status.PENDING, Status.RUNNING):
        expected = ["cancel"]
    assert expected == buttons(admin_client, in_status(status))


def test_buttons__are_shown_with_their_permission_only(
    in_status: Callable[..., Operation], staff_client: Callable[..., Client]
) -> None:
    operation = in_status(Status.SUCCEEDED)
    assert buttons(staff_client("view_operation", "delete_operation"), operation) == ["delete"]


def test_buttons__cancel_is_hidden_if_the_job_cannot_be_canceled(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.persist)
    assert buttons(admin_client, operation) == ["cancel"]
    Operation.objects.filter(pk=operation.pk).update(status=Status.RUNNING)
    assert buttons(admin_client, operation) == []


def test_cancel_button__cancels_and_shows_the_page_again(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    response = admin_client.post(button(operation, "cancel"), follow=True)
    assert [(page(operation), 302)] == response.redirect_chain
    assert messages(response) == ["1 operation was canceled or asked to stop."]
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


def test_rerun_button__leads_to_the_new_operation(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    response = admin_client.post(button(operation, "rerun"))
    assert page(operation.reruns.get()) == response["Location"]


def test_delete_button__deletes_after_a_confirmation(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    question = admin_client.post(button(operation, "delete")).content.decode()
    assert f"<strong>{operation}</strong>" in question
    admin_client.post(button(operation, "delete"), {"confirmed": "yes"})
    operation.refresh_from_db()
    assert operation.was_deleted
    assert buttons(admin_client, operation) == []


def test_buttons__report_a_refusal(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    operation = in_status(Status.SUCCEEDED)
    response = admin_client.post(button(operation, "cancel"), follow=True)
    assert messages(response) == [LEFT + "The operation has already succeeded."]


def test_buttons__of_an_unknown_operation_or_name_are_not_found(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    assert admin_client.post(button(submit(), "explode")).status_code == 404
    assert admin_client.post(button(Operation(), "cancel")).status_code == 404


def test_actions__are_kept_in_the_history(
    submit: Callable[..., Operation], admin_client: Client, admin_user: Any
) -> None:
    operation = submit()
    admin_client.post(button(operation, "cancel"))
    entry = LogEntry.objects.get()
    assert (str(operation.pk), admin_user.pk) == (entry.object_id, entry.user_id)
    assert entry.get_change_message() == "Cancel."


@pytest.mark.django_db(transaction=True)
def test_cancel__reports_that_the_database_is_read_only(
    submit: Callable[..., Operation],
) -> None:
    operations = [submit(), submit()]
    with failover():
        summary = commands.run(commands.CANCEL, operations)
    assert summary.refused == {"The database cannot be reached: try again.": 2}
    assert summary.done == []
    assert not Operation.objects.exclude(status=Status.PENDING).exists()
