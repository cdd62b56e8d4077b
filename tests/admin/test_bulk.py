"""Commands for all operations of a list: the question, the frozen list, the job."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from async_reply import services
from async_reply.admin import bulk, bulk_job, windows
from async_reply.models import Operation
from async_reply.status import Status
from async_reply.tasks import get_task
from tests.admin.conftest import LIST, messages

KIND = "async_reply.bulk"


def question(client: Client, name: str, **parameters: str) -> tuple[str, str]:
    """The text of the question, and the URL to which a yes is posted."""
    text = client.get(f"{LIST}bulk/{name}/", parameters).content.decode()
    [action] = re.findall(r'<form method="post" action="([^"]*)"', text)
    return text, html.unescape(action)


def start(client: Client, name: str, **parameters: str) -> Operation:
    """Say yes to the question; the operation that does it."""
    _text, action = question(client, name, **parameters)
    response = client.post(action, {"confirmed": "yes"}, follow=True)
    assert messages(response) == ["A worker does it now. This page shows how far it is."]
    operation: Operation = Operation.objects.get(kind=KIND)
    return operation


def statuses() -> dict[Any, str]:
    return dict(Operation.objects.values_list("pk", "status"))


def run() -> Operation:
    """Run the job, and return its operation."""
    operation: Operation = Operation.objects.get(kind=KIND)
    get_task(KIND).perform(operation.pk, worker="w1", inline=True)
    operation.refresh_from_db()
    return operation


def value_of(operation: Operation) -> dict[str, Any]:
    """The value that the job returned."""
    value: Any = operation.result.value
    return dict(value)


def test_bulk__cancels_what_the_list_shows_and_nothing_newer(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    rows = [submit() for _ in range(3)]
    other, running = submit(owner="eve"), in_status(Status.RUNNING)
    text, action = question(admin_client, "cancel", status="pending", owner="ada", p="2")
    assert "<strong>3 operations</strong>" in text
    newer = submit()
    admin_client.post(action, {"confirmed": "yes"})
    operation = run()
    after = statuses()
    assert {after[row.pk] for row in rows} == {Status.CANCELED}
    assert after[other.pk] == after[newer.pk] == Status.PENDING
    assert after[running.pk] == Status.RUNNING
    assert (operation.status, operation.owner) == (Status.SUCCEEDED, "")
    assert operation.message == "Done: 3. Left as they are: 0."
    assert value_of(operation) == {"done": 3, "left": {}}


def test_bulk__leaves_canceled_operations_as_they_are(
    in_status: Callable[..., Operation], submit: Callable[..., Operation], admin_client: Client
) -> None:
    in_status(Status.CANCELED)
    submit()
    start(admin_client, "cancel")
    reason = "The operation has already been canceled."
    assert value_of(run()) == {"done": 1, "left": {reason: 1}}


def test_bulk__counts_the_list_once_and_reads_no_page_of_it(
    submit: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    submit()
    # Session, user, newest operation, number of operations.
    with django_assert_num_queries(4):
        question(admin_client, "cancel", kind="tests.project.echo")


def test_bulk__does_nothing_before_a_yes(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    _text, action = question(admin_client, "cancel")
    assert admin_client.post(action).status_code == 200
    assert Operation.objects.count() == 1


def test_bulk__reruns_and_deletes_and_counts_refusals(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    failed = [in_status(Status.FAILED, number=number) for number in range(2)]
    services.delete(in_status(Status.FAILED))
    operation = start(admin_client, "rerun", status="failed")
    run()
    assert [row.reruns.get().input for row in failed] == [{"number": 0}, {"number": 1}]
    reason = "The operation's input was removed: submit the request again."
    operation.refresh_from_db()
    assert value_of(operation) == {"done": 2, "left": {reason: 1}}
    operation.delete()
    start(admin_client, "delete", status="failed")
    assert value_of(run())["done"] == 2
    assert Operation.objects.filter(status="failed", deleted_at=None).count() == 0


def test_bulk__holds_the_window_that_the_list_showed(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MAX_ROWS", 2)
    rows = [submit() for _ in range(4)]
    text, action = question(admin_client, "cancel", status="pending", queue="celery")
    assert "<strong>2 operations</strong>" in text
    services.cancel(rows[3])
    admin_client.post(action, {"confirmed": "yes"})
    run()
    after = statuses()
    assert [after[row.pk] for row in rows] == ["pending", "pending", "canceled", "canceled"]


def test_bulk__says_that_there_are_more_than_it_counts(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_COUNTED", 2)
    for _ in range(3):
        submit()
    assert "<strong>more than 2 operations</strong>" in question(admin_client, "cancel")[0]
    start(admin_client, "cancel")
    assert value_of(run())["done"] == 3


@pytest.mark.parametrize(("max_logged", "entries"), [(2, 3), (1, 2)])
def test_bulk__is_kept_in_the_history_of_each_row_or_of_the_job(
    submit: Callable[..., Operation],
    admin_client: Client,
    admin_user: Any,
    monkeypatch: pytest.MonkeyPatch,
    max_logged: int,
    entries: int,
) -> None:
    monkeypatch.setattr(bulk_job, "MAX_LOGGED", max_logged)
    rows = [submit() for _ in range(2)]
    operation = start(admin_client, "cancel")
    run()
    logged = LogEntry.objects.order_by("pk")
    assert len(logged) == entries
    assert {entry.user_id for entry in logged} == {admin_user.pk}
    assert logged[0].object_id == str(operation.pk)
    assert logged[0].change_message.startswith("Cancel: 2 operations (?newest=")
    logged_rows = {entry.object_id for entry in logged[1:]}
    assert logged_rows == ({str(row.pk) for row in rows} if entries == 3 else {str(operation.pk)})
    assert all(f"async_reply.bulk {operation.pk}" in entry.change_message for entry in logged[1:])


@pytest.mark.parametrize("name", ["cancel", "rerun", "delete"])
def test_bulk__needs_the_permission_of_the_command_and_to_view(
    submit: Callable[..., Operation], staff_client: Callable[..., Client], name: str
) -> None:
    submit()
    client = staff_client("view_operation", f"{name}_operation")
    links = re.findall(r"operation/bulk/(\w+)/", client.get(LIST).content.decode())
    assert links == [name]
    for other in ("cancel", "rerun", "delete"):
        expected = 200 if other == name else 403
        assert client.get(f"{LIST}bulk/{other}/").status_code == expected
        if other != name:
            data = {"confirmed": "yes"}
            assert client.post(f"{LIST}bulk/{other}/", data).status_code == 403
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("loss", ["permission", "staff", "user"])
def test_bulk__fails_if_its_user_may_no_longer_do_it(
    submit: Callable[..., Operation],
    staff_client: Callable[..., Client],
    django_user_model: Any,
    loss: str,
) -> None:
    row = submit()
    start(staff_client("view_operation", "cancel_operation"), "cancel")
    user = django_user_model.objects.get(username="grace")
    match loss:
        case "permission":
            user.user_permissions.clear()
        case "staff":
            django_user_model.objects.filter(pk=user.pk).update(is_staff=False)
        case "user":
            user.delete()
    operation: Any = run()
    assert (operation.status, operation.error["code"]) == (Status.FAILED, "permission-denied")
    row.refresh_from_db()
    assert row.status == Status.PENDING


def test_bulk__sees_only_the_rows_of_its_users_list(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = submit(), submit(owner="eve")
    model_admin = bulk_job.model_admin("admin")
    everything = type(model_admin).get_queryset

    def of_ada(self: Any, request: Any) -> Any:
        assert request.user.is_superuser
        return everything(self, request).filter(owner__in=["ada", ""])

    monkeypatch.setattr(type(model_admin), "get_queryset", of_ada)
    start(admin_client, "cancel")
    run()
    after = statuses()
    assert (after[own.pk], after[other.pk]) == (Status.CANCELED, Status.PENDING)


def test_bulk__that_was_lost_reruns_no_operation_twice(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    rows = [in_status(Status.FAILED) for _ in range(2)]
    operation = start(admin_client, "rerun", status="failed")
    services.rerun(rows[1])
    Operation.objects.filter(pk=operation.pk).update(attempt=1, losses=1)
    run()
    assert [row.reruns.count() for row in rows] == [1, 1]


def test_bulk__stops_when_it_is_canceled(
    submit: Callable[..., Operation], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_job, "BATCH_ROWS", 1)
    monkeypatch.setattr(bulk_job, "MAX_LOGGED", 1)
    rows = [submit() for _ in range(3)]
    operation = start(admin_client, "cancel")
    act_on = bulk_job.Bulk.act_on

    def act_and_cancel(self: Any, row: Operation, *, logs: bool) -> None:
        act_on(self, row, logs=logs)
        services.cancel(Operation.objects.get(pk=operation.pk))
        self.job.check_canceled()

    monkeypatch.setattr(bulk_job.Bulk, "act_on", act_and_cancel)
    assert run().status == Status.CANCELED
    after = statuses()
    assert [after[row.pk] for row in rows] == ["pending", "pending", "canceled"]
    entry = LogEntry.objects.order_by("pk").last()
    assert entry is not None
    assert entry.object_id == str(operation.pk)
    assert entry.change_message.endswith("Done: 1. Left as they are: 0.")


def test_bulk__of_an_unknown_command_or_a_malformed_list_does_nothing(
    admin_client: Client,
) -> None:
    for name in ("explode", "end-process", "show-stack"):
        assert admin_client.get(f"{LIST}bulk/{name}/").status_code == 404
    response = admin_client.get(f"{LIST}bulk/cancel/", {"newest": "nonsense"})
    assert response["Location"] == f"{LIST}?e=1"
    assert admin_client.get(f"{LIST}bulk/cancel/", {"input__contains": "a"}).status_code == 400


@pytest.mark.urls("tests.admin.urls")
def test_bulk__of_another_site_works_on_that_site(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    submit()
    url = "/inner/async_reply/operation/bulk/cancel/"
    assert f'action="{url}?newest=' in admin_client.get(url).content.decode()
    assert bulk_job.model_admin("inner").admin_site.name == "inner"


def test_bulk__rerun_by_another_user_does_nothing(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    """A rerun has the user of the first run, who may be allowed to do more."""
    start(admin_client, "delete", status="failed")
    first = run()
    kept = in_status(Status.FAILED)
    again = services.rerun(first)
    get_task(KIND).perform(again.pk, worker="w1", inline=True)
    again.refresh_from_db()
    kept.refresh_from_db()
    assert (again.status, kept.deleted_at) == (Status.FAILED, None)
    assert again.error is not None
    assert again.error["detail"] == "Give the command again, in the list of operations."


def test_bulk__history_does_not_quote_the_text_of_a_search(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    """In a list of one owner this text is an idempotency key, which no page shows."""
    submit()
    operation = start(admin_client, "cancel", owner="ada", q="key-of-ada")
    [entry] = LogEntry.objects.filter(object_id=str(operation.pk))
    assert "owner=ada&q=***" in entry.change_message
    assert "key-of-ada" not in entry.change_message
