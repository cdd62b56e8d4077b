"""Messages are sent and counted in limited time, over as many connections as the project allows."""

import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from kombu import Queue
from kombu.exceptions import OperationalError as KombuOperationalError
from pytest_django import Settings

from async_reply.models import Operation
from async_reply.publishing import broker as celerys_broker
from async_reply.publishing import connections
from async_reply.publishing.broker import DOWN_ERRORS, count
from tests.concurrency import until
from tests.conftest import configure_celery, need_service
from tests.faults.servers import Redis
from tests.project.tasks import echo
from tests.publishing import transports
from tests.publishing.brokers import (
    AMQP,
    WAYS,
    queue_of,
    route,
    send,
    use,
    use_memory,
    use_redis,
)


def message_in(queue: str) -> Any:
    with connections.connection().clone() as connection:
        return connection.default_channel.basic_get(queue, no_ack=True)


def test_send__message_has_the_id_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)
    operation = Operation(kind=echo.name, queue=f"memory-{uuid4()}")
    send(operation)
    message = message_in(operation.queue)
    assert message.headers["id"] == message.headers["root_id"] == str(operation.pk)
    assert message.decode()[:2] == [[], {}]
    assert (message.headers["eta"], message.headers["retries"]) == (None, 0)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("routed", 2)),
        ({"queue": "own"}, ("own", 2)),
        ({"priority": 0}, ("routed", 0)),
        ({"queue": "own", "priority": 7}, ("own", 7)),
    ],
)
def test_send__own_queue_and_priority_win_over_routes(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], expected: tuple[str, int]
) -> None:
    use_memory(monkeypatch)
    suffix = f"-{uuid4()}"
    route(monkeypatch, [{echo.name: {"queue": f"routed{suffix}", "priority": 2}}])
    if "queue" in own:
        own = {**own, "queue": own["queue"] + suffix}
    send(Operation(kind=echo.name, **own))
    assert message_in(expected[0] + suffix).properties["priority"] == expected[1]


def test_send__uses_the_default_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)
    configure_celery(monkeypatch, task_default_priority=4)
    queue = f"memory-{uuid4()}"
    send(Operation(kind=echo.name, queue=queue))
    assert message_in(queue).properties["priority"] == 4


def test_send__uses_the_compression_of_the_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    use_memory(monkeypatch)
    monkeypatch.setattr(echo, "compression", "gzip", raising=False)
    queue = f"memory-{uuid4()}"
    send(Operation(kind=echo.name, queue=queue))
    assert message_in(queue).headers["compression"] == "application/x-gzip"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A broker whose transport waits at one step until the test ends."""

    def wait_at(step: str, *, limit: int | None = 10) -> None:
        monkeypatch.setattr(transports, "waits_at", step)
        use_memory(monkeypatch, broker_transport=f"{transports.__name__}:Slow")
        configure_celery(monkeypatch, broker_pool_limit=limit)

    transports.over.clear()
    yield wait_at
    transports.over.set()
    until(lambda: not broker_threads())


def broker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "async_reply-broker"]


@pytest.mark.parametrize("step", ["opening", "sending"])
@pytest.mark.parametrize("limit", [1, 10, 0, None])
def test_send__does_not_wait_for_its_transport(
    slow: Callable[..., None], settings: Settings, step: str, limit: int | None
) -> None:
    """Opening looks up a name, asks Sentinel, shakes hands. Sending may wait for a lock."""
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 0.1}
    slow(step, limit=limit)
    for _ in range(3):
        with pytest.raises(DOWN_ERRORS):
            send(Operation(kind=echo.name))
    assert broker_threads()
    assert not transports.over.is_set()


@pytest.mark.parametrize("limit", [0, None])
def test_send__does_not_wait_for_a_connection_to_close(
    slow: Callable[..., None], limit: int | None
) -> None:
    slow("closing", limit=limit)
    send(Operation(kind=echo.name, queue=f"memory-{uuid4()}"))
    assert broker_threads()


def test_send__that_fails_does_not_wait_for_a_connection_to_close(
    slow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow("closing")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("ACCESS_REFUSED")

    monkeypatch.setattr(transports.SlowChannel, "_put", refuse)
    with pytest.raises(PermissionError):
        send(Operation(kind=echo.name))
    assert broker_threads()


@pytest.mark.parametrize(("limit", "threads"), [(2, 2), (None, connections.MAX_CONNECTIONS)])
def test_send__hanging_broker_keeps_few_threads(
    slow: Callable[..., None], settings: Settings, limit: int | None, threads: int
) -> None:
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 0.05}
    slow("opening", limit=limit)
    of_other_tests = set(broker_threads())
    for _ in range(threads + 2):
        with pytest.raises(DOWN_ERRORS):
            send(Operation(kind=echo.name))
    assert len(set(broker_threads()) - of_other_tests) == threads


def test_count__does_not_wait_for_its_transport(
    slow: Callable[..., None], settings: Settings
) -> None:
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 0.1}
    slow("counting")
    assert count("celery") is None
    assert celerys_broker.breaker.is_open


# redis-py does not close the socket of a failed handshake. The garbage collector does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://127.0.0.1:{port}/0", {}),
        ("rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none", {}),
        ("sentinel://127.0.0.1:{port}/0", {"master_name": "main"}),
        ("amqp://guest:guest@127.0.0.1:{port}//", {}),
    ],
    ids=["redis", "tls", "sentinel", "amqp"],
)
def test_send__to_a_silent_port_gives_up(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, url: str, options: dict[str, str]
) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 0.2}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(
            monkeypatch,
            url.format(port=silent.getsockname()[1]),
            broker_transport_options=options,
        )
        with pytest.raises(DOWN_ERRORS):
            send(Operation(kind=echo.name))
        assert count("celery") is None
    until(lambda: not broker_threads())
    gc.collect()


def test_send__to_a_closed_port_says_that_the_broker_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_redis(monkeypatch, port=1)
    with pytest.raises(KombuOperationalError, match=r"refused|Connection|111"):
        send(Operation(kind=echo.name))


POOLED = """
import threading, django
django.setup()
from redis import Redis
from async_reply.publishing import broker
from async_reply.models import Operation
from demo_project.celery import app

limit = {limit!r}
app.conf.broker_pool_limit = limit
errors, go = [], threading.Barrier(8)

def call(function):
    try:
        go.wait()
        for _ in range(5):
            function()
    except Exception as error:
        errors.append(repr(error))

ours = lambda: broker.send(Operation(kind="tests.kind", queue="ours"))
theirs = lambda: app.send_task("tests.task", queue="theirs")
threads = [threading.Thread(target=call, args=[f]) for f in [ours] * 6 + [theirs] * 2]
server = Redis.from_url(app.conf.broker_url)
before = server.info("clients")["connected_clients"]
theirs()
one = server.info("clients")["connected_clients"] - before
for thread in threads: thread.start()
for thread in threads: thread.join()
for thread in threading.enumerate():
    if thread.name == "async_reply-broker":
        thread.join()
print(errors)
print(one, server.info("clients")["connected_clients"] - before, server.llen("ours"))
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize(("limit", "held"), [(1, 2), (2, 4), (0, 0), (None, 0)])
def test_pool__keeps_to_the_limit_beside_the_projects_own_pool(
    redis: Redis, limit: int | None, held: int
) -> None:
    """The project's own messages use another pool, with the same limit."""
    pytest.importorskip("redis", reason="needs the extra redis")
    done = subprocess.run(
        [sys.executable, "-c", POOLED.format(limit=limit)],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "CELERY_BROKER_URL": redis.url,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    errors, figures = done.stdout.splitlines()
    one, connected, sent = map(int, figures.split())
    assert (errors, sent % 30) == ("[]", 0)
    # A connection of kombu has one or two sockets.
    assert connected <= held * one


@pytest.mark.parametrize("name", WAYS)
def test_count__of_waiting_messages(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    way = WAYS[name]
    with queue_of(echo.name, way, monkeypatch) as queue:
        assert count(queue.name) == 0
        for priority in way.priorities * 2:
            send(Operation(kind=echo.name, priority=priority))
        assert count(queue.name) == 2 * len(way.priorities)
        message: Any = queue.get(no_ack=True)
        assert message.headers["task"] == echo.name
        assert count(queue.name) == 2 * len(way.priorities) - 1


@pytest.mark.parametrize("name", ["redis-queue", "redis-prefix", "rabbitmq-queue"])
def test_count__of_a_missing_queue_is_zero(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with queue_of(echo.name, WAYS[name], monkeypatch):
        assert count(f"absent-{uuid4()}") == 0


@pytest.mark.parametrize("transport", ["Uncounted", "NotCounting", "Negative", "Failing"])
def test_count__of_a_transport_that_cannot_count_is_none(
    monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    use_memory(monkeypatch, broker_transport=f"{transports.__name__}:{transport}")
    assert count("celery") is None


def test_count__of_an_exclusive_queue_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ shows an exclusive queue to its own connection only. The broker is not down."""
    need_service("RabbitMQ", port=5672)
    use(monkeypatch, AMQP)
    with connections.connection().clone() as connection:
        queue = Queue(f"exclusive-{uuid4()}", exclusive=True).bind(connection.default_channel)
        queue.declare()
        assert count(queue.name) is None
    assert not celerys_broker.breaker.is_open


def test_count__broker_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    use_redis(monkeypatch, port=1)
    assert count("celery") is None
    assert celerys_broker.breaker.is_open


def test_breaker__knows_since_when_the_broker_is_down() -> None:
    breaker = celerys_broker.Breaker()
    steps = [breaker.trip, breaker.trip, breaker.reset, breaker.trip]
    first, second, after_reset, third = [(step(), breaker.down_since)[1] for step in steps]
    assert (first is None, second, after_reset) == (False, first, None)
    assert third not in (None, first)


def test_breaker__forgets_a_failure_of_a_minute_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = celerys_broker.Breaker()
    breaker.trip()
    monkeypatch.setattr(celerys_broker, "FAILURE_SECONDS", 0)
    assert breaker.down_since is None


@pytest.mark.parametrize(
    "url", ["memory://", "redis://127.0.0.1:6379/4", "amqp://guest:guest@127.0.0.1:5672//"]
)
def test_answers(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    if port := urlsplit(url).port:
        need_service("The broker", port=port)
        pytest.importorskip("redis", reason="needs the extra redis")
    use(monkeypatch, url)
    assert [celerys_broker.answers() for _ in range(2)] == [True, True]


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_answers__not_when_the_port_is_closed_or_silent(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, scheme: str
) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    settings.ASYNC_REPLY = {"PUBLISH_TIMEOUT": 0.3}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (1, silent.getsockname()[1]):
            use(monkeypatch, f"{scheme}://127.0.0.1:{port}//")
            started = time.monotonic()
            assert not celerys_broker.answers()
            assert time.monotonic() - started < 3


def test_answers__logs_the_error_that_has_no_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_args: Any) -> None:
        raise TimeoutError

    caplog.set_level(logging.INFO, logger="async_reply")
    monkeypatch.setattr("async_reply.publishing.connections.acquire", refuse)
    assert not celerys_broker.answers()
    assert caplog.messages == ["The broker does not answer: TimeoutError()"]
