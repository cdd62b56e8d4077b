"""Handlers and receivers of the project that raise, hang or do worse: no attempt is lost."""

import ast
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import async_reply
from async_reply import lifecycle, services, signals
from async_reply.attempts import claims, heartbeats, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.database.clock import after
from async_reply.exceptions import OperationFailed, WorkerStopping
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.status import Status
from tests.concurrency import in_thread, until
from tests.project.tasks import echo

PACKAGE = Path(async_reply.__file__).parent
MODULES = sorted({str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")} - {"logs.py"})


class Bad(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("no space left on device")


class Picky(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise KeyError("request_id")


@pytest.fixture(params=[Bad, Picky])
def bad(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each line of the project's log raises: Django's own logger as well."""
    loggers = [logging.getLogger(name) for name in ("async_reply", "django", "django.dispatch")]
    thing = request.param()
    add, remove = ("addHandler", "removeHandler") if request.param is Bad else ("addFilter",) * 2
    remove = remove.replace("addF", "removeF")
    for each in loggers:
        getattr(each, add)(thing)
    yield
    for each in loggers:
        getattr(each, remove)(thing)


def stop(operation: Job) -> None:
    operation._claim.interruption = WorkerStopping
    operation.check_canceled()


def cancel(operation: Job) -> None:
    services.cancel(Operation.objects.get(pk=operation.id))
    operation.check_canceled()


def fail(operation: Job) -> None:
    raise OperationFailed("no more pages")


def retry(operation: Job) -> None:
    operation.retry(after=60)


JOBS: list[tuple[Callable[[Job], Any], Status]] = [
    (lambda operation: 7, Status.SUCCEEDED),
    (fail, Status.FAILED),
    (lambda operation: 1 / 0, Status.FAILED),
    (retry, Status.PENDING),
    (stop, Status.PENDING),
    (cancel, Status.CANCELED),
]


def run(function: Callable[[Job], Any], **options: Any) -> Operation:
    operation = services.submit(echo)
    Operation.objects.update(max_retries=1)
    runner.run(operation.pk, Kind(name=echo.name, function=function), worker="w", **options)
    operation.refresh_from_db()
    return operation


def broken(**_: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize(("job", "status"), JOBS)
def test_run__handler_that_raises_takes_no_attempt(
    job: Callable[[Job], Any], status: Status
) -> None:
    """And neither does a receiver: Django logs what it raised."""
    assert run(job, inline=True).status == status
    Operation.objects.all().delete()
    hooks = (signals.operation_started, signals.operation_finished)
    for hook in hooks:
        hook.connect(broken)
    try:
        assert run(job, inline=True).status == status
    finally:
        for hook in hooks:
            hook.disconnect(broken)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bad")
def test_ticker__outlives_a_handler_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    beat, tries = claims.beat, iter([1, 2])

    def fail_twice(claims: list[claims.Claim]) -> None:
        if next(tries, None):
            raise RuntimeError("away")
        beat(claims)

    monkeypatch.setattr(heartbeats, "TICK", 0.02)
    monkeypatch.setattr(heartbeats, "TICK_AFTER_ERROR", 0.02)
    monkeypatch.setattr(heartbeats, "beat", fail_twice)

    def job(operation: Job) -> None:
        operation.progress(40)
        until(lambda: Operation.objects.get().progress == 40)

    assert run(job).status == Status.SUCCEEDED


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bad")
def test_maintenance__rescues_beside_a_handler_that_raises() -> None:
    assert lifecycle.claim(services.submit(echo), worker="w")
    Operation.objects.update(lease_expires_at=after(-1))
    assert rescue.rescue() == 1


@pytest.mark.django_db(transaction=True)
def test_run__receiver_that_hangs_keeps_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the job's way, and nothing else: the heartbeat is there before it."""
    reached, go_on = threading.Event(), threading.Event()

    def hang(**_: Any) -> None:
        reached.set()
        assert go_on.wait(30)

    monkeypatch.setattr(heartbeats, "TICK", 0.02)
    signals.operation_started.connect(hang)
    try:
        with in_thread(lambda: run(lambda operation: 7)) as ran:
            assert reached.wait(30)
            assert len(heartbeats._ticker._claims) == 1
            services.cancel(Operation.objects.get())
            [claim] = heartbeats._ticker._claims
            until(lambda: claim.interruption is not None)
            go_on.set()
            assert ran.result(30).status == Status.SUCCEEDED
    finally:
        signals.operation_started.disconnect(hang)


def test_logger__names_the_line_of_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger.info("Operation id=%s", 7)
    logger.log(logging.WARNING, "Operation id=%s", 7)
    try:
        broken()
    except ZeroDivisionError:
        logger.exception("Operation id=%s", 7)
    name = inspect.currentframe().f_code.co_name  # type: ignore[union-attr]
    assert [record.funcName for record in caplog.records] == [name] * 3
    assert {record.name for record in caplog.records} == {"async_reply"}
    assert caplog.records[-1].exc_info is not None


@pytest.mark.parametrize("module", MODULES)
def test_source__has_one_logger(module: str) -> None:
    """A handler of the project that raises must end neither an attempt nor a request."""
    tree = ast.parse((PACKAGE / module).read_text())
    sources = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and "logger" in {name.name for name in node.names}
    }
    assert sources <= {"async_reply.logs"}
    assert "getLogger" not in {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }
