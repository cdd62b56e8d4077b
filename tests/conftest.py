"""Shared by all tests: users, clients, operations, and services that may be missing."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from async_reply import lifecycle, services
from async_reply.attempts import claims
from async_reply.database import statements
from async_reply.estimates import backlogs, histories
from async_reply.models import Operation
from async_reply.publishing.broker import breaker
from async_reply.publishing.connections import _pools
from async_reply.services import additions
from async_reply.status import Status
from async_reply.testing import run_operations
from async_reply.waiting import executor
from async_reply.waiting.ticker import Ticker
from async_reply.waiting.ticker import ticker as the_ticker
from tests.concurrency import until
from tests.project.tasks import echo

# A shell lets programs that it starts in the background ignore this signal. Programs that the tests
# start inherit that, and some are ended by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    matrix = parser.getgroup("matrix", "database x broker x pool")
    matrix.addoption(
        "--cells",
        choices=["embedded", "covering", "all"],
        default="embedded",
        help="cells of tests/matrix: the demo's own, some with each server and pool, or all",
    )
    matrix.addoption("--write-matrix", metavar="PAGE", help="write what the cells showed into PAGE")
    clients = parser.getgroup("clients", "client x outcome")
    clients.addoption("--write-clients", metavar="PAGE", help="write what clients saw into PAGE")


#: Tests with these markers wait for processes. They start first: at the end, the run would wait.
STARTED_FIRST = ("checker", "faults", "packaging", "system", "clients", "plans")

#: Tests that repeat the same calls thousands of times. Other tests cover the same lines, and
#: coverage would double the time of these.
REPETITIVE = (
    "estimates/test_plans.py",
    "lifecycle/test_state_machine.py",
    "matrix/test_cells.py",
    "views/test_answers.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(map(item.get_closest_marker, STARTED_FIRST)))
    for item in items:
        if item.get_closest_marker("system") or item.path.as_posix().endswith(REPETITIVE):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make each report valid UTF-8, because xdist sends it to another process."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def _delete_rows(_operations: Any, _style: Any, tables: list[str], **_options: Any) -> list[str]:
    """The statements that empty tables. PostgreSQL's keys are checked at the end alone."""
    return [f"DELETE FROM {connection.ops.quote_name(table)}" for table in tables]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """After a test with transactions of its own, delete rows instead of truncating tables.

    Tables have few rows then, and TRUNCATE makes all files anew: 130 ms instead of 10.
    """
    if connection.vendor == "postgresql":
        type(connection.ops).sql_flush = _delete_rows  # type: ignore[assignment,method-assign]


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the messages that would be sent. Only the tests of the relay need a broker."""
    sent: list[str] = []
    monkeypatch.setattr(
        "async_reply.publishing.broker.send", lambda operation: sent.append(str(operation.pk))
    )
    breaker.reset()
    return sent


@pytest.fixture(autouse=True)
def additions_to_submits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions that add rows to submits: none, as in a project without webhooks."""
    functions: list[Any] = []
    monkeypatch.setattr(additions, "functions", functions)
    return functions


#: Whether a status and the rows that belong to it are written in one statement. Tests of this
#: run with both forms on PostgreSQL, and with the portable form elsewhere.
FORMS = [True, False] if connection.vendor == "postgresql" else [False]


@pytest.fixture(params=FORMS, ids=["one-statement", "portable"][-len(FORMS) :])
def one_statement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    possible: bool = request.param
    monkeypatch.setattr(statements, "are_possible", lambda using: possible)
    return possible


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    """Forget the histories, the backlogs and the throttled clients of earlier tests."""
    histories.forget()
    backlogs.forget()
    cache.clear()


@pytest.fixture
def user(django_user_model: Any) -> AbstractBaseUser:
    created: AbstractBaseUser = django_user_model.objects.create_user("ada")
    return created


@pytest.fixture
def stranger(django_user_model: Any) -> AbstractBaseUser:
    created: AbstractBaseUser = django_user_model.objects.create_user("eve")
    return created


@pytest.fixture
def client_of() -> Callable[..., APIClient]:
    """Makes an APIClient for a user, or an anonymous one."""

    def make(user: AbstractBaseUser | None = None) -> APIClient:
        client = APIClient()
        if user is not None:
            client.force_authenticate(user)
        return client

    return make


def configure_celery(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Change settings of Celery for a test. The prefix is needed before Celery 5.6."""
    for name, value in settings.items():
        monkeypatch.setitem(current_app.conf, f"CELERY_{name.upper()}", value)


@pytest.fixture
def ran() -> Callable[..., None]:
    """Stores finished operations with these durations; the last one ended just now."""

    def store(*seconds: float, status: Status = Status.SUCCEEDED, **fields: Any) -> None:
        now = timezone.now()
        rows = [
            Operation(
                kind=fields.get("kind", "tests.project.echo"),
                status=status,
                reply=fields.get("reply", {}),
                created_at=now - timedelta(hours=1),
                started_at=now - timedelta(seconds=len(seconds) - index + duration),
                finished_at=now - timedelta(seconds=len(seconds) - index),
            )
            for index, duration in enumerate(seconds)
        ]
        Operation.objects.bulk_create(rows)

    return store


def need_service(name: str, *, port: int) -> None:
    """Skip the test if the service is absent; fail if ASYNC_REPLY_REQUIRE_SERVICES is set."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
            pytest.fail(f"{name} does not listen on 127.0.0.1:{port}: start it.")
        pytest.skip(f"{name} does not listen on 127.0.0.1:{port}")


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticker]:
    """The process's ticker. At the end, its thread and the threads that ask Django have ended.

    Their connections have ended with them.
    """
    monkeypatch.setattr("async_reply.waiting.ticker.IDLE_SECONDS", 0.05)
    monkeypatch.setattr(executor, "IDLE_SECONDS", 0.05)
    yield the_ticker
    until(
        lambda: (
            not the_ticker.is_running
            and not any(thread.name == executor.THREAD_NAME for thread in threading.enumerate())
        )
    )
    assert the_ticker.waiting == 0


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    """A client that is authenticated as `user`."""
    return client_of(user)


@pytest.fixture
def _estimates_stay_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process reads the data for its estimates once, even if the test is slow."""
    monkeypatch.setattr(histories, "REFRESH_SECONDS", float("inf"))
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", float("inf"))


@pytest.fixture
def _multilingual(settings: Settings) -> None:
    """All URLs start with a language. The default is "en"."""
    settings.LANGUAGE_CODE = "en"
    settings.ROOT_URLCONF = "tests.project.multilingual"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]


@pytest.fixture
def submit(user: AbstractBaseUser) -> Callable[..., Operation]:
    """Stores an operation that belongs to `user`."""

    def make(task: Any = echo, **input: Any) -> Operation:
        return services.submit(task, input=input, owner=str(user.pk))

    return make


@pytest.fixture
def running(submit: Callable[..., Operation]) -> Operation:
    """A running operation of `user`."""
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    return operation


@pytest.fixture
def succeeded(submit: Callable[..., Operation]) -> Operation:
    """A succeeded operation of `user`. Its result is {"number": 7}."""
    operation = submit(number=7)
    run_operations()
    operation.refresh_from_db()
    return operation


@pytest.fixture(autouse=True)
def _inline_jobs_read_the_row_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "INLINE_BEAT_SECONDS", 0)


@pytest.fixture(autouse=True)
def _broker_connections_closed() -> Iterator[None]:
    """Close the connections to brokers, which a process would keep."""
    yield
    for pool in _pools.values():
        for opened in pool._resource.queue:
            if not callable(opened):  # a callable stands for a connection that was never opened
                opened._close()
    _pools.clear()
