"""The page of an operation and its files: content, escaping, permissions, statements."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.html import strip_tags
from django_celery_results.models import TaskResult

from async_reply import conf, services
from async_reply.admin import OperationAdmin
from async_reply.attempts import process_commands
from async_reply.models import Operation, OperationAttempt, OperationFile, ProcessCommand
from async_reply.status import Status
from async_reply.testing import run_operations
from tests.admin.conftest import LIST, messages, page
from tests.project import tasks

EVIL = "<script>alert(1)</script>"
NO_CELERY_RESULT = "Celery&#x27;s result backend has no result of this operation."
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture
def with_files(submit: Callable[..., Operation]) -> Operation:
    """A succeeded operation whose request had a file."""
    upload = SimpleUploadedFile("notes.txt", b"<b>secret</b>", "text/html")
    operation = submit(tasks.read, title="a title", files=[upload])
    run_operations()
    operation.refresh_from_db()
    return operation


@pytest.fixture(autouse=True)
def content_type(db: None) -> None:
    """Look up the content type now: Django does so once per process, and tests count queries."""
    ContentType.objects.clear_cache()
    ContentType.objects.get_for_model(Operation)


@pytest.fixture
def everything(with_files: Operation, submit: Callable[..., Operation]) -> Operation:
    """A succeeded operation with a value in each part of its page."""
    for number in (5, 6, 7):
        OperationAttempt.objects.create(
            operation=with_files,
            number=number,
            outcome=OperationAttempt.Outcome.RETRY,
            exception="builtins.KeyError",
            message="hidden message",
            traceback="Traceback: hidden words",
        )
    services.rerun(with_files)
    TaskResult.objects.create(task_id=str(with_files.pk), status="SUCCESS")
    return with_files


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
def test_change__of_a_tombstone_shows_the_row_without_its_content(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    operation = in_status(status, anything="a secret")
    OperationAttempt.objects.create(
        operation=operation, number=1, outcome=OperationAttempt.Outcome.RETRY, traceback="a secret"
    )
    operation.attempt = 2
    operation.save(update_fields=["attempt"])
    services.delete(operation)
    for url in (page(operation), LIST):
        text = admin_client.get(url).content.decode()
        assert str(operation.pk) in text
        assert f"{status.label} (deleted)" in strip_tags(text)
        assert "a secret" not in text


def test_change__shows_input_files_attempts_reruns_and_celery_result(
    everything: Operation, admin_client: Client
) -> None:
    text = admin_client.get(page(everything)).content.decode()
    for part in (
        str(everything.pk),
        "a title",
        "notes.txt",
        "builtins.KeyError",
        "Traceback: hidden words",
        page(everything.reruns.get()),
        reverse("admin:django_celery_results_taskresult_change", args=[1]).rpartition("1/")[0],
    ):
        assert part in text, part


@pytest.mark.parametrize("status", Status)
def test_change__renders_in_each_status(
    in_status: Callable[..., Operation], admin_client: Client, status: Status
) -> None:
    response = admin_client.get(page(in_status(status)))
    assert response.status_code == 200
    assert NO_CELERY_RESULT in response.content.decode()


@pytest.mark.urls("tests.admin.urls")
def test_change__links_to_pages_of_its_own_admin_site(
    everything: Operation, admin_client: Client
) -> None:
    text = admin_client.get(
        f"/inner/async_reply/operation/{everything.pk}/change/"
    ).content.decode()
    result = TaskResult.objects.get()
    assert f'<div class="readonly">{result.pk}</div>' in text
    assert f'action="/inner/async_reply/operation/{everything.pk}/actions/rerun/"' in text
    assert f'href="/inner/async_reply/operation/{everything.reruns.get().pk}/change/"' in text


def test_change__shows_the_owner_as_a_user(
    submit: Callable[..., Operation], admin_client: Client, admin_user: User
) -> None:
    operation = submit(owner=str(admin_user.pk))
    text = admin_client.get(page(operation)).content.decode()
    url = reverse("admin:auth_user_change", args=[admin_user.pk])
    assert f'<a href="{url}">{admin_user}</a>' in text


@pytest.mark.urls("tests.admin.urls")
def test_change__works_without_django_celery_results(
    everything: Operation, admin_client: Client, settings: Any
) -> None:
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app != "django_celery_results"
    ]
    text = admin_client.get(
        f"/inner/async_reply/operation/{everything.pk}/change/"
    ).content.decode()
    assert "What happened" in text
    assert "Celery&#x27;s result" not in text


def test_change__takes_nine_statements(
    everything: Operation,
    in_status: Callable[..., Operation],
    admin_client: Client,
    django_assert_num_queries: Any,
) -> None:
    # Session, user, operation, reruns, Celery's result, attempts, result, files, log.
    for operation in (everything, in_status(Status.FAILED)):
        with django_assert_num_queries(9):
            admin_client.get(page(operation))


def test_change__of_an_operation_that_waits_takes_four_more(
    submit: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    # Operations that wait, operations that run, workers of the queues, workers and their kinds.
    waiting = submit()
    with django_assert_num_queries(9 + 4):
        admin_client.get(page(waiting))


def test_change__of_an_operation_that_runs_takes_two_more(
    in_status: Callable[..., Operation], admin_client: Client, django_assert_num_queries: Any
) -> None:
    # The worker of its process, and the commands to the process.
    running = in_status(Status.RUNNING)
    Operation.objects.update(worker="celery@host/4711-9f2c01ab")
    assert process_commands.give(running, ProcessCommand.Name.SHOW_STACK)
    with django_assert_num_queries(9 + 2):
        admin_client.get(page(running))


def test_change__shows_a_file_as_the_result(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit(tasks.export)
    run_operations()
    text = admin_client.get(page(operation)).content.decode()
    row = operation.files.get()
    assert f'<a href="{file_url(row)}">{row.name}</a>, 8\xa0bytes' in text


@pytest.mark.parametrize(
    ("task", "part"),
    [
        (tasks.create, "&quot;route&quot;: &quot;thing&quot;"),
        (tasks.forward, "https://files.example.org/report.pdf"),
    ],
)
def test_change__shows_a_location_as_the_result(
    submit: Callable[..., Operation],
    admin_client: Client,
    settings: Any,
    task: Any,
    part: str,
) -> None:
    settings.ASYNC_REPLY = {**conf.configured(), "REDIRECT_HOSTS": ["files.example.org"]}
    operation = submit(task)
    run_operations()
    text = admin_client.get(page(operation)).content.decode()
    assert part in text
    assert 'href="https://files.example.org' not in text


def test_change__of_a_rerun_links_to_the_operation_that_it_repeats(
    in_status: Callable[..., Operation], admin_client: Client
) -> None:
    first = in_status(Status.SUCCEEDED)
    rerun = services.rerun(first)
    assert f'repeats <a href="{page(first)}">' in admin_client.get(page(rerun)).content.decode()


def test_change__says_why_an_operation_is_pending(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    assert "No worker lives" in admin_client.get(page(operation)).content.decode()
    services.cancel(operation)
    assert "Why is it waiting?" not in admin_client.get(page(operation)).content.decode()


def test_change__escapes_text_of_users(admin_client: Client, db: None) -> None:
    operation = Operation.objects.create(
        kind=EVIL,
        owner=EVIL,
        message=EVIL,
        worker=EVIL,
        queue=EVIL,
        input={EVIL: EVIL},
        extra={EVIL: EVIL},
        error={"message": EVIL},
        reply={"base_url": EVIL},
    )
    OperationAttempt.objects.create(
        operation=operation,
        number=1,
        outcome="failed",
        exception=EVIL,
        message=EVIL,
        traceback=EVIL,
        worker=EVIL,
    )
    OperationFile.objects.create(
        operation=operation, role="input", name=EVIL, field=EVIL, content_type=EVIL, size=1
    )
    for url in (LIST, page(operation)):
        text = admin_client.get(url).content.decode()
        assert ESCAPED in text
        assert EVIL not in text


def test_change__of_an_unknown_or_malformed_id_redirects_to_the_index(admin_client: Client) -> None:
    for pk in ("0190c5a8-0000-7000-8000-000000000000", "nonsense"):
        response = admin_client.get(f"{LIST}{pk}/change/")
        assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_pages__without_permission_are_refused(
    everything: Operation, staff_client: Callable[..., Client]
) -> None:
    client = staff_client()
    row = everything.files.get()
    for url in (LIST, page(everything), file_url(row)):
        assert client.get(url).status_code == 403


def test_pages__redirect_anonymous_visitors_to_the_login(
    everything: Operation, client: Client
) -> None:
    for url in (LIST, page(everything), file_url(everything.files.get())):
        assert client.get(url).status_code == 302


def test_change__hides_the_payload_without_its_permission(
    everything: Operation, staff_client: Callable[..., Client], django_assert_max_num_queries: Any
) -> None:
    client = staff_client("view_operation")
    # Two statements read permissions. The result and the files are not read.
    with django_assert_max_num_queries(9) as captured:
        text = client.get(page(everything)).content.decode()
    assert "a user needs the permission async_reply.view_operation_payload" in text
    assert "builtins.KeyError" in text
    for part in ("a title", "notes.txt", "hidden words", "hidden message"):
        assert part not in text, part
    for table in ("operationresult", "operationfile"):
        assert not [query for query in captured if table in query["sql"]]
    assert client.get(file_url(everything.files.get())).status_code == 403


def test_change__shows_the_payload_with_its_permission(
    everything: Operation, staff_client: Callable[..., Client]
) -> None:
    client = staff_client("view_operation", "view_operation_payload")
    text = client.get(page(everything)).content.decode()
    for part in ("a title", "notes.txt", "hidden words", "hidden message"):
        assert part in text, part


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_change__draws_the_same_with_thousands_that_are_separated(
    in_status: Callable[..., Operation], admin_client: Client, settings: Any, language: str
) -> None:
    """SVG reads "1.000" as one."""
    settings.USE_THOUSAND_SEPARATOR = True
    url = page(in_status(Status.FAILED))
    with translation.override(language):
        text = admin_client.get(url, headers={"Accept-Language": language}).content.decode()
    assert 'viewBox="0 0 1000 12"' in text


def test_change__names_the_queue_to_which_celery_routes_the_kind(
    submit: Callable[..., Operation], admin_client: Client
) -> None:
    operation = submit()
    assert operation.queue == ""
    text = admin_client.get(page(operation)).content.decode()
    assert '<div class="readonly">celery</div>' in text


def test_file__is_a_download_that_no_browser_shows(
    with_files: Operation, admin_client: Client
) -> None:
    response: Any = admin_client.get(file_url(with_files.files.get()))
    assert b"".join(response) == b"<b>secret</b>"
    assert response["Content-Disposition"] == 'attachment; filename="notes.txt"'
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_file__of_another_operation_is_not_found(
    with_files: Operation, submit: Callable[..., Operation], admin_client: Client
) -> None:
    row = with_files.files.get()
    other = reverse("admin:async_reply_operation_file", args=[submit().pk, row.pk])
    assert admin_client.get(other).status_code == 404


def test_file__of_a_row_that_a_project_hides_is_refused(
    with_files: Operation, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OperationAdmin, "has_view_permission", lambda _self, _request, obj=None: obj is None
    )
    assert admin_client.get(file_url(with_files.files.get())).status_code == 403


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no such file"), ConnectionError("no route to the storage")]
)
def test_file__that_the_storage_cannot_open_is_reported_on_the_page(
    with_files: Operation,
    admin_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    row = with_files.files.get()

    def fail(*_args: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(row.file.storage, "_open", fail)
    response = admin_client.get(file_url(row), follow=True)
    assert response.redirect_chain == [(page(with_files), 302)]
    assert messages(response) == ["The storage failed to open the file notes.txt: see the log."]
    assert f"id={with_files.pk} kind=tests.read: file={row.file.name} cannot be" in caplog.text
    assert str(error) in caplog.text


def test_file__that_is_lost_is_reported_on_the_page(
    with_files: Operation, admin_client: Client
) -> None:
    row = with_files.files.get()
    row.file.storage.delete(str(row.file.name))
    response = admin_client.get(file_url(row), follow=True)
    assert messages(response) == ["The storage failed to open the file notes.txt: see the log."]


def file_url(row: OperationFile) -> str:
    """The URL at which an operator downloads the file."""
    return reverse("admin:async_reply_operation_file", args=[row.operation_id, row.pk])
