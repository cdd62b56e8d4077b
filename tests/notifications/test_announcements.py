"""Notifications wake those who wait; where they fail, nothing does but the quickness."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from async_reply import lifecycle
from async_reply.checks.settings import check_settings
from async_reply.models import Operation
from async_reply.notifications import announcements, base, postgresql, redis
from async_reply.waiting import slots, ticker
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
    """The setting, with a database or a server that can do it."""
    target: str = request.param
    if target == REDIS:
        pytest.importorskip("redis", reason="needs the extra redis")
        need_service("Redis", port=6379)
    elif connection.vendor != "postgresql":
        pytest.skip("the tests run on another database: DATABASE_URL names it")
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": target}
    return target


def wait_for(operation: Operation) -> bool | None:
    return slots.wait(operation, seconds=30, caller=("owner", uuid4().hex))


def test_notification__is_enough(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        until_looked()
        with transaction.atomic():
            assert lifecycle.succeed(running)
        assert waited.result() is True


def test_notification__missed_while_the_waiter_came(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the view's read and the wait is found without a notification."""
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    held = Operation.objects.get()
    with in_thread(lambda: wait_for(running)) as first:
        until_waiting()
        until(lambda: not ticker.ticker._hints)
        monkeypatch.setattr(announcements, "announce", lambda pk, changes: None)
        lifecycle.succeed(running)
        with in_thread(lambda: wait_for(held)) as second:
            assert second.result() is True
        assert first.result() is True


def test_notification__that_is_lost_costs_a_tick(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", 0.05)
    monkeypatch.setattr(announcements, "announce", lambda pk, changes: None)
    with in_thread(lambda: wait_for(running)) as waited:
        until_waiting()
        lifecycle.succeed(running)
        assert waited.result() is True


def test_notification__only_of_what_is_committed(
    notify: str, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    with announcements.listening(heard.append):
        until(lambda: heard == [None])
        with transaction.atomic():
            lifecycle.succeed(running)
            transaction.set_rollback(True)
        lifecycle.beat(running, progress=1, message="news")
        until(lambda: len(heard) == 2)
    assert heard == [None, running.pk]


def test_notification__of_rubbish_is_ignored() -> None:
    heard: list[Any] = []
    base.pass_on("no id", heard.append)
    assert heard == []


def test_heartbeat__without_news_announces_nothing(
    notify: str, running: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        lifecycle.beat(running)


def test_none__costs_nothing(
    running: Operation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        lifecycle.beat(running, progress=1, message="news")
    before = set(threading.enumerate())
    with announcements.listening(_refuse):
        assert set(threading.enumerate()) <= before


def _refuse(pk: Any) -> None:
    raise AssertionError


def test_postgresql__broken_listener_comes_back(
    running: Operation, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the tests run on another database: DATABASE_URL names it")
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}
    monkeypatch.setattr(ticker, "TICK_NOTIFIED_SECONDS", NEVER)
    heard: list[Any] = []
    with announcements.listening(heard.append):
        until(lambda: heard == [None])
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        until(lambda: heard == [None, None])


def test_postgresql__failing_notice_is_not_the_changes(
    running: Operation, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is committed by then; told as an error, a worker would do it again."""
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}

    def fail(pk: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(postgresql, "notify", fail)
    assert lifecycle.succeed(running)


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.mark.parametrize("state", ["silent", "closed"])
def test_redis__that_is_away_holds_up_one_writer_a_while(
    state: str, silent: str, running: Operation, settings: Settings, caplog: Any
) -> None:
    url = silent if state == "silent" else closed()
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": url}
    started = time.monotonic()
    for number in range(20):
        assert lifecycle.beat(running, progress=number, message="news")
    assert lifecycle.succeed(running)
    assert time.monotonic() - started < 5 * redis.TIMEOUT_SECONDS + 5
    assert len([each for each in caplog.records if "not announced" in each.message]) <= 2


def test_redis__that_is_away_leaves_the_slower_tick(
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
    assert [each.id for each in check_settings(None)] == expected


def test_check__notify_on_another_database(settings: Settings) -> None:
    settings.ASYNC_REPLY = {**settings.ASYNC_REPLY, "NOTIFY": "postgresql"}
    found = [each.id for each in check_settings(None)]
    on_postgresql = connections["default"].vendor == "postgresql"
    assert found == ([] if on_postgresql else ["async_reply.E017"])
