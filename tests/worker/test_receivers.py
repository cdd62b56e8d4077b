import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.state import revoked
from django.db import connection, transaction
from django.utils import timezone

from async_reply import lifecycle, services, tasks
from async_reply.attempts import interrupts, sessions
from async_reply.database.identifiers import uuid7
from async_reply.models import Operation, Worker
from async_reply.status import Status
from async_reply.tasks import process_name
from async_reply.worker import beat, duties, receivers, requests
from tests.project.tasks import echo, persist


@pytest.mark.django_db
def test_revoked__in_flower_cancels() -> None:
    operation = services.submit(echo)
    receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id=str(operation.pk)))
    receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id="not-an-id"))
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.mark.django_db
def test_unknown__kind_fails_after_an_hour() -> None:
    operation = services.submit(echo)
    receivers.reject_unknown(name=echo.name, id=str(operation.pk))
    operation.refresh_from_db()
    assert operation.status == Status.PENDING
    Operation.objects.update(available_at=timezone.now() - timedelta(hours=2))
    receivers.reject_unknown(name=echo.name, id=str(operation.pk))
    receivers.reject_unknown(name="foreign.task", id=str(operation.pk))
    operation.refresh_from_db()
    assert (operation.status, (operation.error or {})["code"]) == (Status.FAILED, "unknown-kind")


@pytest.mark.django_db(transaction=True)
def test_worker__starts_and_stops_maintenance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "delivery", list)
    sender = SimpleNamespace(hostname="w1", controller=SimpleNamespace(concurrency=3))
    receivers.start_maintenance(sender=sender)
    receivers.start_maintenance(sender=sender)
    threads = list(receivers._threads)
    assert len(threads) == 2
    assert threads[1].duties[-1].name == "connections"
    while not Worker.objects.filter(name="w1", concurrency=3).exists():
        assert threads[0].is_alive()
    receivers.stop_maintenance()
    receivers.stop_maintenance()
    assert ([thread.is_alive() for thread in threads], receivers._threads) == ([False, False], [])
    assert not Worker.objects.exists()


@pytest.mark.django_db
def test_revoked__not_by_a_message_that_was_too_old() -> None:
    operation = services.submit(echo)
    request = SimpleNamespace(task=echo.name, id=str(operation.pk))
    receivers.cancel_revoked(request=request, expired=True)
    operation.refresh_from_db()
    assert operation.status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_signals__leave_no_connection_behind() -> None:
    """In the worker's main process nobody else closes one that the database has ended."""
    operations = [services.submit(echo) for _ in range(2)]
    for operation in operations:
        receivers.cancel_revoked(request=SimpleNamespace(task=echo.name, id=str(operation.pk)))
        assert connection.connection is None
        receivers.reject_unknown(name=echo.name, id=str(operation.pk))
        assert connection.connection is None


@pytest.mark.django_db
def test_revoked__while_a_worker_claims_it(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = services.submit(echo)
    cancel = lifecycle.cancel

    def meet_the_claim(seen: Operation) -> bool:
        lifecycle.claim(Operation.objects.get(), worker="w1")
        return cancel(seen)

    monkeypatch.setattr(lifecycle, "cancel", meet_the_claim)
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
    assert [duty.name for duty in delivery] == ["relay", "republish", "rescue", "unserved"]
    assert [duty.name for duty in cleanup] == ["purge", "orphans", "workers"]
    assert [duty.name for duty in delivery if duty.rescues] == ["rescue"]
    drained = [duty.name for duty in [*delivery, *cleanup] if duty.drains]
    assert drained == ["relay", "purge", "orphans"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mine", [True, False])
def test_take_back__not_from_a_worker_of_the_same_name_in_another_container(
    mine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each container has a process 7, and the same node name where all are started alike."""
    operation = services.submit(echo)
    with monkeypatch.context() as elsewhere:
        if not mine:
            elsewhere.setattr(tasks, "BOOT", "0" * 8)
        assert lifecycle.claim(operation, worker=process_name("celery@worker", 7))
    before = set(threading.enumerate())
    died: Any = SimpleNamespace(id=str(operation.pk), hostname="celery@worker", worker_pid=7)
    requests.OperationRequest._take_back(died, timed_out=False)
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    operation.refresh_from_db()
    assert operation.status == (Status.PENDING if mine else Status.RUNNING)


def test_process_name__differs_between_boots_and_not_between_a_worker_and_its_children() -> None:
    told = "import django; django.setup(); from async_reply.tasks import process_name as name; "
    told += "import os; print(name('celery@worker', 7), flush=True); "
    told += "os.fork() or print(name('celery@worker', 7), flush=True); os._exit(0)"
    command = [sys.executable, "-c", told]
    boots = [subprocess.check_output(command, text=True).split() for _ in range(2)]
    assert [len(set(names)) for names in boots] == [1, 1]
    assert boots[0][0] != boots[1][0]


def test_process_name__fits_its_column() -> None:
    assert len(process_name("w" * 300, 2**22)) <= 255


def test_describe__consumer_that_says_nothing() -> None:
    told = receivers._describe(None)
    assert (told["name"], told["concurrency"]) == ("worker", 0)


@pytest.mark.django_db
def test_submit__is_what_a_schedule_runs() -> None:
    told = beat.submit.apply(kwargs={"kind": echo.name, "input": {"a": 1}, "owner": "7"})
    operation = Operation.objects.get()
    assert (told.state, operation.kind, operation.input) == ("SUCCESS", echo.name, {"a": 1})
    assert operation.owner == "7"


@pytest.mark.django_db
def test_revoked__that_cannot_be_canceled_goes_on() -> None:
    operation = services.submit(persist)
    assert lifecycle.claim(operation, worker="w1")
    receivers.cancel_revoked(request=SimpleNamespace(task=persist.name, id=str(operation.pk)))
    operation.refresh_from_db()
    assert operation.status == Status.RUNNING


def test_worker__tells_its_jobs_to_leave() -> None:
    receivers.stop_jobs()
    assert interrupts.stopping.is_set()
    receivers.clear_stop()
    assert not interrupts.stopping.is_set()


@pytest.mark.django_db
def test_revoked__by_the_terminate_of_an_earlier_job_goes_on() -> None:
    operation = services.submit(echo)
    request = SimpleNamespace(task=echo.name, id=str(operation.pk))
    receivers.cancel_revoked(request=request, terminated=True)
    operation.refresh_from_db()
    assert operation.status == Status.PENDING
    revoked.add(request.id)
    receivers.cancel_revoked(request=request, terminated=True)
    operation.refresh_from_db()
    assert operation.status == Status.CANCELED


@pytest.mark.parametrize("id", ["not-an-id", ""])
def test_request__of_no_operation_is_nobodys(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    request = SimpleNamespace(id=id, hostname="w1", worker_pid=1)
    requests.OperationRequest._take_back(request, timed_out=False)  # type: ignore[arg-type]
    assert started == []
    request.id = str(uuid7())
    requests.OperationRequest._take_back(request, timed_out=False)  # type: ignore[arg-type]
    assert len(started) == 1


@pytest.fixture
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """Celery's handlers stand in the main process; afterwards all are as before."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts.stopping.clear()


def ended(number: int, frame: Any) -> None:
    raise SystemExit(1)


def refused(number: int, frame: Any) -> None:
    raise NotImplementedError("solo.TaskPool does not implement kill_job")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_announce__each_signal_tells_jobs_before_celery_acts(
    number: signal.Signals, handlers: dict[signal.Signals, Any]
) -> None:
    heard: list[bool] = []
    signal.signal(number, lambda *_: heard.append(interrupts.stopping.is_set()))
    receivers.wrap_stop_handlers()
    receivers.wrap_stop_handlers()
    signal.raise_signal(number)
    assert heard == [True]


def test_announce__what_celery_raises_is_no_error_of_the_job(
    handlers: dict[signal.Signals, Any],
) -> None:
    signal.signal(signal.SIGQUIT, refused)
    signal.signal(signal.SIGTERM, ended)
    receivers.wrap_stop_handlers()
    signal.raise_signal(signal.SIGQUIT)
    with pytest.raises(SystemExit) as raised:
        signal.raise_signal(signal.SIGTERM)
    assert interrupts.ends_process(raised.value)


def test_announce__also_by_the_handler_that_celery_puts_next(
    handlers: dict[signal.Signals, Any],
) -> None:
    def first(number: int, frame: Any) -> None:
        signal.signal(number, ended)

    signal.signal(signal.SIGQUIT, first)
    receivers.wrap_stop_handlers()
    signal.raise_signal(signal.SIGQUIT)
    with pytest.raises(SystemExit) as raised:
        signal.raise_signal(signal.SIGQUIT)
    assert interrupts.ends_process(raised.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_eager", [False, True])
def test_begin_afresh__ends_what_another_task_has_left_open(is_eager: bool) -> None:
    """With CELERY_DB_REUSE_MAX Celery leaves the connection as it is; eager, it has a caller."""
    transaction.atomic().__enter__()
    echo.push_request(id="x", is_eager=is_eager)
    try:
        receivers.reset_process(sender=echo)
        assert connection.in_atomic_block is is_eager
        receivers.reset_process(sender=beat.submit)
    finally:
        echo.pop_request()
        sessions.reset_open()


@pytest.mark.django_db(transaction=True)
def test_take_back__of_a_process_that_died_before_its_claim_hands_the_message_back() -> None:
    operation = services.submit(echo)
    Operation.objects.update(published_at=timezone.now())
    requests._take_back(operation.pk, worker="w1/7", timed_out=False)
    operation.refresh_from_db()
    assert (operation.status, operation.published_at) == (Status.PENDING, None)
