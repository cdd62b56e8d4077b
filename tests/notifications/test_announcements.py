"""Notifications wake the clients that wait. If a notification is lost, they are told later."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from async_reply import lifecycle
from async_reply.checks.settings import check_settings
from async_reply.models import Operation
from async_reply.notifications import announcements, base, postgresql, redis
from async_reply.waiting import slots, ticker, tickets
from tests.concurrency import in_thread, until, until_looked, until_waiting
from tests.conftest import need_service

REDIS = "redis://127.0.0.1:6379/7"
NEVER = 600.0

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ticker")]


@pytest.fixture(autouse=True)
def _forget_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redis._Pause, "until", 0.0)
    yield
    if redis._client.cache_info().currsize:
        redis._client.cache_clear()


@pytest.fixture(params=["postgresql", REDIS])
def notify(request: pytest.FixtureRequest, settings: Settings) -> str:
    """The setting, for a database or a server that can notify."""
    target: str = request.param
    if target == REDIS:
        pytest.importorskip("redis", reason="needs the extra redis")
        need_service("Redis", port=6379)
    elif connection.vendor != "postgresql":
        pytest.skip("needs PostgreSQL: DATABASE_URL names another database")
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": target}
    return target


def wait_for(operation: Operation) -> bool | None:
    return slots.wait(tickets.Wait(operation, 30, ("owner", uuid4().hex), ""))


class Heard:
    """The ids that a listener was called with."""

    def __init__(self) -> None:
        self.pks: list[UUID | None] = []
        self.only_events: list[UUID | None] = []

    def __call__(self, pk: UUID | None, /, *, only_events: bool = False) -> None:
        (self.only_events if only_events else self.pks).append(pk)


def test_notification__wakes_a_waiter_without_a_look(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        until_looked()
        with transaction.atomic():
            assert lifecycle.succeed(running)
        assert waited.result() is True


def test_notification__before_the_wait_is_not_needed(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the view's read and the wait is found without a notification."""
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    read_before = Operation.objects.get()
    with in_thread(lambda: wait_for(running)) as first:
        until_waiting()
        until(lambda: not ticker.ticker._hints)
        monkeypatch.setattr(announcements, "announce", lambda pk, changes: None)
        lifecycle.succeed(running)
        with in_thread(lambda: wait_for(read_before)) as second:
            assert second.result() is True
        assert first.result() is True


def test_notification__lost_costs_the_time_until_the_next_look(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", 0.05)
    monkeypatch.setattr(announcements, "announce", lambda pk, changes: None)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        lifecycle.succeed(running)
        assert waited.result() is True


def test_notification__comes_only_of_a_committed_change(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    with announcements.listening(heard):
        until(lambda: heard.pks == [None])
        with transaction.atomic():
            lifecycle.succeed(running)
            transaction.set_rollback(True)
        lifecycle.beat(running, progress=1, message="new")
        until(lambda: len(heard.pks) == 2)
    assert heard.pks == [None, running.pk]


def test_notification__of_events_says_so(notify: str, running: Operation) -> None:
    heard = Heard()
    with announcements.listening(heard):
        until(lambda: heard.pks == [None])
        with transaction.atomic():
            announcements.announce_events(running.pk)
            transaction.set_rollback(True)
        announcements.announce_events(running.pk)
        until(lambda: heard.only_events == [running.pk])
    assert heard.pks == [None]


def test_notification__of_events_is_no_id_for_earlier_versions() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        UUID(f"{uuid4()}{base.ONLY_EVENTS}")


def test_notification__without_an_id_is_ignored() -> None:
    heard = Heard()
    base.pass_on("no id", heard)
    base.pass_on("no id events", heard)
    assert heard.pks == heard.only_events == []


def test_heartbeat__without_a_new_version_announces_nothing(
    notify: str, running: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        lifecycle.beat(running)


def test_none__sends_nothing_and_starts_no_thread(
    running: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        lifecycle.beat(running, progress=1, message="new")
    before = set(threading.enumerate())
    with announcements.listening(_fail):
        assert set(threading.enumerate()) <= before


def _fail(pk: UUID | None, /, *, only_events: bool = False) -> None:
    raise AssertionError


def test_postgresql__broken_listener_connects_again(
    running: Operation, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs PostgreSQL: DATABASE_URL names another database")
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    heard = Heard()
    with announcements.listening(heard):
        until(lambda: heard.pks == [None])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        until(lambda: heard.pks == [None, None])


def test_postgresql__error_of_a_notification_is_none_of_the_change(
    running: Operation, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is committed. After an error a worker would make it again."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}

    def fail(pk: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(postgresql, "notify", fail)
    assert lifecycle.succeed(running)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections, and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def closed() -> str:
    """The URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.parametrize("state", ["silent", "closed"])
def test_redis__away_delays_one_writer_only(
    state: str, silent: str, running: Operation, settings: Settings, caplog: Any
) -> None:
    url = silent if state == "silent" else closed()
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": url}
    started = time.monotonic()
    for number in range(20):
        assert lifecycle.beat(running, progress=number, message="new")
    assert lifecycle.succeed(running)
    assert time.monotonic() - started < 5 * redis.TIMEOUT_SECONDS + 5
    assert caplog.text.count("not announced") <= 2


def test_redis__away_leaves_the_slower_looks(
    running: Operation, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": closed()}
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", 0.05)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        lifecycle.succeed(running)
        assert waited.result() is True
        until(lambda: "notifications are not heard" in caplog.text)


@pytest.mark.parametrize(
    ("target", "missing", "expected"),
    [
        (None, "", []),
        ("postgresql", "psycopg", ["async_reply.E017"]),
        (REDIS, "redis", ["async_reply.E017"]),
        (REDIS, "", []),
    ],
)
def test_check__notify(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    target: str | None,
    missing: str,
    expected: list[str],
) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": target}
    monkeypatch.setattr(announcements, "find_spec", lambda name: name != missing or None)
    assert [message.id for message in check_settings(None)] == expected


def test_check__notify_on_another_database(settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}
    ids = [message.id for message in check_settings(None)]
    on_postgresql = connections["default"].vendor == "postgresql"
    assert ids == ([] if on_postgresql else ["async_reply.E017"])
