"""Mistakes of new projects: log and checks name the remedy, and no job is lost or fails."""

import warnings
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import OperationalError, ProgrammingError, connection
from django.urls import include, path
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.test import APIClient

from async_reply import services, tasks
from async_reply.database import schema
from async_reply.models import Operation, OperationResult
from async_reply.status import Status
from async_reply.tasks import operation_task
from async_reply.views import LongRunningOperationView
from async_reply.worker import receivers
from async_reply.worker.maintenance import Duty, Maintenance
from tests.conftest import configure_celery
from tests.project.tasks import read


class NumberSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(required=False)


class MismatchedView(LongRunningOperationView):
    """Its serializer lacks the parameters of the task."""

    serializer_class = NumberSerializer
    task = read


class BareView(LongRunningOperationView):
    task = read


class Urls:
    urlpatterns = [
        path("mismatched/", MismatchedView.as_view()),
        path("bare/", BareView.as_view()),
        path("api/", include("async_reply.urls")),
    ]


@pytest.fixture
def urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = Urls


def check_ids() -> set[str]:
    return {str(message.id) for message in run_checks(tags=["async_reply"], databases=[])}


def test_kind__declared_by_two_apps_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "registered", dict(tasks.registered))
    for _ in range(2):
        operation_task(name="tests.newcomer.twice")(_first)
    assert "async_reply.E004" not in check_ids()
    with warnings.catch_warnings():
        # Celery 5.7 warns about it too.
        warnings.simplefilter("ignore")
        operation_task(name="tests.newcomer.twice")(_second)
    assert "async_reply.E004" in check_ids()


def _first(operation: Any) -> None: ...


def _second(operation: Any) -> None: ...


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "remedy"), [("/mismatched/", "get_input"), ("/bare/", "serializer_class")]
)
def test_view__that_cannot_call_its_task_is_500_and_logged(
    api: APIClient, urls: None, caplog: pytest.LogCaptureFixture, url: str, remedy: str
) -> None:
    response = api.post(url, {"number": 7})
    assert response.status_code == 500
    assert remedy in caplog.text
    assert not Operation.objects.exists()


def test_rest_framework__missing_in_installed_apps_is_a_warning(settings: Settings) -> None:
    installed = [name for name in settings.INSTALLED_APPS if name != "rest_framework"]
    settings.INSTALLED_APPS = installed
    assert check_ids() == {"async_reply.W107"}


def test_broker__not_configured_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_celery(monkeypatch, broker_url=None, broker_transport=None)
    assert check_ids() == {"async_reply.W106"}


@pytest.mark.django_db(transaction=True)
def test_broker__not_configured_gets_202(
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    real_send: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure_celery(monkeypatch, broker_transport=None, broker_transport_options={})
    configure_celery(monkeypatch, broker_write_url="amqp://guest@127.0.0.1:1//")
    assert api.post("/echoes/").status_code == 202
    assert list(Operation.objects.due().unpublished()) == [Operation.objects.get()]
    assert "not published, the relay will" in caplog.text


@pytest.mark.django_db
def test_kind__not_imported_by_the_worker_stays_pending(caplog: pytest.LogCaptureFixture) -> None:
    operation = services.submit(read, input={"title": "", "files": []})
    receivers.reject_unknown(name=read.name, id=str(operation.pk))
    operation.refresh_from_db()
    assert operation.status == Status.PENDING
    assert "CELERY_IMPORTS" in caplog.text


@pytest.fixture
def without_tables(transactional_db: None) -> Any:
    """The database before `migrate`."""
    models = [OperationResult, Operation]
    names = {model: model._meta.db_table for model in models}
    with connection.schema_editor() as editor:
        for model, name in names.items():
            editor.alter_db_table(model, name, f"hidden_{name}")
    yield
    with connection.schema_editor() as editor:
        for model, name in names.items():
            editor.alter_db_table(model, f"hidden_{name}", name)


def test_migrations__not_run_is_503_and_logged(
    api: APIClient, without_tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = "/api/operations/0192aaaa-0000-7000-8000-000000000000/"
    for response in (api.post("/echoes/"), api.get(unknown)):
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert response["Content-Type"] == "application/problem+json"
    assert "run manage.py migrate" in caplog.text


def test_migrations__not_run_do_not_stop_migrate(without_tables: None) -> None:
    """`migrate` runs the database checks before it creates the tables."""
    assert run_checks(tags=["async_reply"], databases=["default"]) == []


def test_migrations__not_run_is_one_line_in_the_worker_s_log(
    without_tables: None, caplog: pytest.LogCaptureFixture
) -> None:
    maintenance = Maintenance([Duty(f"{n}", 0, Operation.objects.count) for n in range(3)])
    for _ in range(3):
        maintenance.turn()
    (line,) = [record for record in caplog.records if record.name == "async_reply"]
    assert line.getMessage() == f"Maintenance waits. {schema.REMEDY}"
    assert line.exc_info is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("no such table: async_reply_operation"), True),
        (OperationalError("table async_reply_operation has no column named queue"), True),
        (ProgrammingError('relation "async_reply_operation" does not exist'), True),
        (ProgrammingError(1146, "Table 'x.async_reply_operation' doesn't exist"), True),
        (OperationalError(1054, "Unknown column 'async_reply_operation.queue'"), True),
        (OperationalError("database is locked"), False),
        (OperationalError('database "async_reply_site" cannot be reached'), False),
        (ProgrammingError('relation "reports" does not exist'), False),
        (ValueError("no such table: async_reply_operation"), False),
    ],
)
def test_schema__is_behind(error: Exception, expected: bool) -> None:
    assert schema.is_behind(error) is expected
