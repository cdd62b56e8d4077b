import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.concurrency import solo
from celery.worker.state import revoked
from django.db import connection, transaction
from django.utils import timezone
from kombu import Queue

from async_reply import lifecycle, services
from async_reply.attempts import interrupts, sessions
from async_reply.contrib.webhooks import duties as webhooks
from async_reply.models import Operation, Worker
from async_reply.status import Status
from async_reply.tasks import process_name
from async_reply.worker import beat, duties, receivers
from tests.project.tasks import echo, persist


@pytest.mark.django_db
def test_revoked__cancels() -> None:
    operation = services.submit(echo)
    receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id=str(operation.pk)))
    receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id="not-an-id"))
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.mark.django_db
def test_unknown__fails_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    operation = services.submit(echo)
    receivers.reject_unknown(name=echo.name, id=str(operation.pk))
    operation.refresh_from_db()
    assert operation.status == Status.PENDING
    Operation.objects.update(available_at=timezone.now() - timedelta(hours=2))
    receivers.reject_unknown(name=echo.name, id=str(operation.pk))
    receivers.reject_unknown(name="foreign.task", id=str(operation.pk))
    operation.refresh_from_db()
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "unknown-kind")
    [level] = [row.levelname for row in caplog.records if vars(row).get("event") == "finished"]
    assert level == "ERROR"


@pytest.mark.django_db(transaction=True)
def test_worker__starts_and_stops_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker imports it before its maintenance starts: see `apps.CELERY_RECEIVERS`.
    import_module("async_reply.checks.pools")
    monkeypatch.setattr(duties, "additional", [*duties.additional, *webhooks.MAKERS])
    monkeypatch.setattr(duties, "delivery", list)
    sender = SimpleNamespace(hostname="w1", controller=SimpleNamespace(concurrency=3))
    receivers.start_maintenance(sender=sender)
    receivers.start_maintenance(sender=sender)
    threads = list(receivers._threads)
    assert len(threads) == 2
    first, second = ({duty.name for duty in thread.duties} for thread in threads)
    assert ("webhooks" in first, {"webhooks net", "connections"} <= second) == (True, True)
    # Else an idle worker would hold two connections.
    assert [duty.name for duty in threads[1].duties if duty.keeps_connection] == []
    while not Worker.objects.filter(name="w1", concurrency=3).exists():
        assert threads[0].is_alive()
    receivers.stop_maintenance()
    receivers.stop_maintenance()
    assert ([thread.is_alive() for thread in threads], receivers._threads) == ([False, False], [])
    assert not Worker.objects.exists()


@pytest.mark.django_db
def test_revoked__expired_message_cancels_nothing() -> None:
    operation = services.submit(echo)
    request = SimpleNamespace(task=echo.name, id=str(operation.pk))
    receivers.cancel_revoked(request=request, expired=True)
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_signals__leave_no_connection_behind() -> None:
    """In the main process no other code closes a connection that the database has ended."""
    operations = [services.submit(echo) for _ in range(2)]
    for operation in operations:
        receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id=str(operation.pk)))
        assert connection.connection is None
        receivers.reject_unknown(name=echo.name, id=str(operation.pk))
        assert connection.connection is None


@pytest.mark.django_db
def test_revoked__while_a_worker_claims_asks_it_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = services.submit(echo)
    cancel = lifecycle.cancel

    def claim_first(stale: Operation) -> bool:
        lifecycle.claim(Operation.objects.get(), worker="w1")
        return cancel(stale)

    monkeypatch.setattr(lifecycle, "cancel", claim_first)
    receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id=str(operation.pk)))
    operation.refresh_from_db()
    assert operation.status == Status.CANCELING


@pytest.mark.parametrize("id", [None, 7, "", "x", "0199c0de-0000-7000-8000-000000000000"])
@pytest.mark.django_db
def test_signals__of_foreign_tasks_are_ignored(id: Any) -> None:
    operation = services.submit(echo)
    for name in (echo.name, "foreign.task"):
        receivers.cancel_revoked(request=SimpleNamespace(task=name, id=id))
        receivers.reject_unknown(name=name, id=id)
    receivers.cancel_revoked()
    receivers.cancel_revoked(request=SimpleNamespace(task="foreign.task", id=str(operation.pk)))
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


def test_duties__have_names_and_flags() -> None:
    delivery, cleanup = duties.delivery(), duties.cleanup()
    assert [duty.name for duty in delivery] == [
        *("relay", "republish", "rescue", "give up", "unserved")
    ]
    assert [duty.name for duty in cleanup] == ["purge", "orphans", "workers", "statistics"]
    assert [duty.name for duty in delivery if duty.rescues] == ["rescue"]
    drained = [duty.name for duty in [*delivery, *cleanup] if duty.drains]
    assert drained == ["relay", "give up", "purge", "orphans", "statistics"]


@pytest.mark.django_db
def test_statistics__go_on_at_once_until_all_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    (duty,) = (duty for duty in duties.cleanup(alone=True) if duty.name == "statistics")
    results = [False, True]
    monkeypatch.setattr("async_reply.statistics.rollup.roll_up", lambda: results.pop(0))
    assert [duty.function(), duty.function()] == [200, 0]


def test_process_name__is_the_same_in_children_and_new_after_a_restart() -> None:
    code = "import django; django.setup(); from async_reply.tasks import process_name as name; "
    code += "import os; print(name('celery@worker', 7), flush=True); "
    code += "os.fork() or print(name('celery@worker', 7), flush=True); os._exit(0)"
    command = [sys.executable, "-c", code]
    starts = [subprocess.check_output(command, text=True).split() for _ in range(2)]
    assert [len(set(names)) for names in starts] == [1, 1]
    assert starts[0][0] != starts[1][0]


def test_process_name__fits_its_column() -> None:
    assert len(process_name("w" * 300, 2**22)) <= 255


def test_describe__without_a_consumer() -> None:
    fields = receivers._describe(None)
    assert (fields["name"], fields["concurrency"]) == ("worker", 0)


@pytest.mark.parametrize(
    ("controller", "concurrency"),
    [
        # Celery keeps the option --concurrency, whatever the pool makes of it.
        (SimpleNamespace(concurrency=8, pool=solo.TaskPool(8), autoscaler=None), 1),
        (SimpleNamespace(concurrency=8, pool=SimpleNamespace(num_processes=9)), 9),
        (SimpleNamespace(concurrency=8, pool=SimpleNamespace(num_processes=None)), 8),
        (
            SimpleNamespace(
                concurrency=2,
                pool=SimpleNamespace(num_processes=3),
                autoscaler=SimpleNamespace(max_concurrency=10),
            ),
            10,
        ),
    ],
    ids=["solo", "grown", "unknown", "autoscale"],
)
def test_concurrency__is_that_of_the_pool(controller: Any, concurrency: int) -> None:
    consumer = SimpleNamespace(controller=controller)
    assert receivers._describe(consumer)["concurrency"] == concurrency


def test_queues__are_those_that_are_read_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages to other queues add them to Celery's own list, in its older versions for good."""
    amqp: Any = current_app.amqp
    monkeypatch.setattr(amqp.queues, "_consume_from", {"celery": None, "nobody": None})
    read = SimpleNamespace(queues=[Queue("celery"), Queue("reports")])
    consumer = SimpleNamespace(task_consumer=read)
    assert receivers._describe(consumer)["queues"] == ["celery", "reports"]
    # Between two connections to the broker.
    assert receivers._queues_read_by(SimpleNamespace(task_consumer=None)) is None


def test_queues__of_a_worker_that_stops_are_none() -> None:
    """It still lives, and its jobs run to their end. Nobody must wait for it."""
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(queues=[Queue("celery")]))
    receivers.stop_jobs()
    try:
        assert receivers._queues_read_by(consumer) == []
    finally:
        receivers.clear_stop()


@pytest.mark.django_db
def test_revoked__kind_without_cancel_goes_on() -> None:
    operation = services.submit(persist)
    assert lifecycle.claim(operation, worker="w1")
    receivers.cancel_revoked(request=SimpleNamespace(task=persist.name, id=str(operation.pk)))
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING


def test_worker__tells_jobs_to_stop() -> None:
    receivers.stop_jobs()
    assert interrupts.stopping.is_set()
    receivers.clear_stop()
    assert not interrupts.stopping.is_set()


@pytest.mark.django_db
def test_revoked__reported_for_an_earlier_terminate_cancels_nothing() -> None:
    operation = services.submit(echo)
    request = SimpleNamespace(task=echo.name, id=str(operation.pk))
    receivers.cancel_revoked(request=request, terminated=True)
    operation.refresh_from_db()
    assert operation.status == Status.PENDING
    revoked.add(request.id)
    receivers.cancel_revoked(request=request, terminated=True)
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.fixture
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """The handlers of signals. They are restored after the test."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts.stopping.clear()


def exit_process(number: int, frame: Any) -> None:
    raise SystemExit(1)


def refuse(number: int, frame: Any) -> None:
    raise NotImplementedError("solo.TaskPool does not implement kill_job")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_stop_handlers__tell_jobs_before_celery_acts(
    number: signal.Signals, handlers: dict[signal.Signals, Any]
) -> None:
    was_set: list[bool] = []
    signal.signal(number, lambda *_: was_set.append(interrupts.stopping.is_set()))
    receivers.wrap_stop_handlers()
    receivers.wrap_stop_handlers()
    signal.raise_signal(number)
    assert was_set == [True]


def test_stop_handlers__errors_of_celery_end_no_job(
    handlers: dict[signal.Signals, Any],
) -> None:
    signal.signal(signal.SIGQUIT, refuse)
    signal.signal(signal.SIGTERM, exit_process)
    receivers.wrap_stop_handlers()
    signal.raise_signal(signal.SIGQUIT)
    with pytest.raises(SystemExit) as raised:
        signal.raise_signal(signal.SIGTERM)
    assert interrupts.ends_process(raised.value)


def test_stop_handlers__wrap_the_next_handler_of_celery(
    handlers: dict[signal.Signals, Any],
) -> None:
    def first(number: int, frame: Any) -> None:
        signal.signal(number, exit_process)

    signal.signal(signal.SIGQUIT, first)
    receivers.wrap_stop_handlers()
    signal.raise_signal(signal.SIGQUIT)
    with pytest.raises(SystemExit) as raised:
        signal.raise_signal(signal.SIGQUIT)
    assert interrupts.ends_process(raised.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_eager", [False, True])
def test_reset_process__ends_an_open_transaction(is_eager: bool) -> None:
    """With CELERY_DB_REUSE_MAX Celery keeps the connection. A job run eagerly uses its caller's."""
    transaction.atomic().__enter__()
    echo.push_request(id="x", is_eager=is_eager)
    try:
        receivers.reset_process(sender=echo)
        assert connection.in_atomic_block is is_eager
        receivers.reset_process(sender=beat.submit)
    finally:
        echo.pop_request()
        sessions.reset_open()
