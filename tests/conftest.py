"""What tests share: users, clients, and services that may be missing."""

import os
import socket
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
from async_reply.publishing.broker import _pools, breaker
from async_reply.status import Status
from async_reply.testing import run_operations
from async_reply.waiting import executor
from async_reply.waiting.ticker import Ticker
from async_reply.waiting.ticker import ticker as the_ticker
from tests.concurrency import until
from tests.project.tasks import echo


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


#: What waits for processes of its own: begun at the end, all else would wait for it.
FIRST = ("checker", "faults", "packaging", "system", "clients", "plans")

#: Thousands of the same calls, whose lines others reach; coverage would double what they take.
REPETITIVE = (
    "estimates/test_plans.py",
    "lifecycle/test_state_machine.py",
    "matrix/test_cells.py",
    "views/test_answers.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(map(item.get_closest_marker, FIRST)))
    for item in items:
        if item.get_closest_marker("system") or item.path.as_posix().endswith(REPETITIVE):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A report crosses processes as UTF-8, whatever text a test has logged."""
    report = yield
    report.sections = [
        (name, said.encode(errors="backslashreplace").decode()) for name, said in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the messages sent; no test but those of the relay needs a broker."""
    sent: list[str] = []
    monkeypatch.setattr(
        "async_reply.publishing.broker.send", lambda operation: sent.append(str(operation.pk))
    )
    breaker.reset()
    return sent


#: Whether an arrow and what belongs to it are one statement: where they can be, both are tried.
FORMS = [True, False] if connection.vendor == "postgresql" else [False]


@pytest.fixture(params=FORMS, ids=["one-statement", "portable"][-len(FORMS) :])
def one_statement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    possible: bool = request.param
    monkeypatch.setattr(statements, "are_possible", lambda using: possible)
    return possible


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    """What the process has read of other tests' databases is forgotten, and whom it throttled."""
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
    """An APIClient that speaks for a user, or for nobody."""

    def make(user: AbstractBaseUser | None = None) -> APIClient:
        client = APIClient()
        if user is not None:
            client.force_authenticate(user)
        return client

    return make


def configure_celery(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Change Celery's settings for a test; before 5.6 those of Django hid any without a prefix."""
    for name, value in settings.items():
        monkeypatch.setitem(current_app.conf, f"CELERY_{name.upper()}", value)


@pytest.fixture
def ran() -> Callable[..., None]:
    """Store operations that took so many seconds, one after the other, the last just now."""

    def store(*seconds: float, status: Status = Status.SUCCEEDED, **fields: Any) -> None:
        now = timezone.now()
        rows = [
            Operation(
                kind=fields.get("kind", "tests.project.echo"),
                status=status,
                reply=fields.get("reply", {}),
                created_at=now - timedelta(hours=1),
                started_at=now - timedelta(seconds=len(seconds) - index + each),
                finished_at=now - timedelta(seconds=len(seconds) - index),
            )
            for index, each in enumerate(seconds)
        ]
        Operation.objects.bulk_create(rows)

    return store


def need_service(name: str, *, port: int) -> None:
    """Skip where the service is absent; fail where ASYNC_REPLY_REQUIRE_SERVICES says so."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        if os.environ.get("ASYNC_REPLY_REQUIRE_SERVICES"):
            pytest.fail(f"{name} does not listen on 127.0.0.1:{port}: start it.")
        pytest.skip(f"{name} does not listen on 127.0.0.1:{port}")


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticker]:
    """The process's ticker; at the end its thread and those that ask Django are gone.

    Their connections go with them.
    """
    monkeypatch.setattr("async_reply.waiting.ticker.IDLE_SECONDS", 0.05)
    monkeypatch.setattr(executor, "IDLE_SECONDS", 0.05)
    yield the_ticker
    until(lambda: not the_ticker.is_running and not executor.executor.is_running)
    assert the_ticker.waiting == 0


@pytest.fixture
def api(user: AbstractBaseUser, client_of: Callable[..., APIClient]) -> APIClient:
    """A client that speaks for `user`."""
    return client_of(user)


@pytest.fixture
def _knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process reads for its estimates stays good for the test, however slow that is."""
    monkeypatch.setattr(histories, "REFRESH_SECONDS", float("inf"))
    monkeypatch.setattr(backlogs, "REFRESH_SECONDS", float("inf"))


@pytest.fixture
def _multilingual(settings: Settings) -> None:
    """All URLs stand below a language, of which "en" is the default."""
    settings.LANGUAGE_CODE = "en"
    settings.ROOT_URLCONF = "tests.project.multilingual"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]


@pytest.fixture
def submit(user: AbstractBaseUser) -> Callable[..., Operation]:
    """Store an operation of `user`'s."""

    def make(task: Any = echo, **input: Any) -> Operation:
        return services.submit(task, input=input, owner=str(user.pk))

    return make


@pytest.fixture
def running(submit: Callable[..., Operation]) -> Operation:
    """An operation of `user`'s that a worker holds."""
    operation = submit()
    assert lifecycle.claim(operation, worker="w1")
    return operation


@pytest.fixture
def succeeded(submit: Callable[..., Operation]) -> Operation:
    """An operation of `user`'s that answered {"number": 7}."""
    operation = submit(number=7)
    run_operations()
    operation.refresh_from_db()
    return operation


@pytest.fixture(autouse=True)
def _inline_jobs_look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "INLINE_BEAT_SECONDS", 0)


@pytest.fixture(autouse=True)
def _broker_connections_closed() -> Iterator[None]:
    """A process keeps its connections to brokers; a test leaves none behind."""
    yield
    for pool in _pools.values():
        for kept in pool._resource.queue:
            if not callable(kept):  # one that nobody has asked for yet
                kept._close()
    _pools.clear()
