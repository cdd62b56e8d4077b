"""Log handlers and signal receivers of the project may raise or hang: no attempt is lost."""

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
from async_reply.attempts import claims, heartbeats, outages, rescue, runner
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


class FailingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("no space left on device")


class FailingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise KeyError("request_id")


@pytest.fixture(params=[FailingHandler, FailingFilter])
def failing_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each call of a logger raises, of Django's logger as well."""
    loggers = [logging.getLogger(name) for name in ("async_reply", "django", "django.dispatch")]
    hook = request.param()
    sort = "Handler" if request.param is FailingHandler else "Filter"
    for failing_logger in loggers:
        getattr(failing_logger, f"add{sort}")(hook)
    yield
    for failing_logger in loggers:
        getattr(failing_logger, f"remove{sort}")(hook)


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


def raising(**_: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("failing_log")
@pytest.mark.parametrize(("job", "status"), JOBS)
def test_run__handler_that_raises_ends_no_attempt(
    job: Callable[[Job], Any], status: Status
) -> None:
    """Neither does a receiver that raises. Django logs its error, which raises again."""
    assert run(job, inline=True).status == status
    Operation.objects.all().delete()
    sent = (signals.operation_started, signals.operation_finished)
    for signal in sent:
        signal.connect(raising)
    try:
        assert run(job, inline=True).status == status
    finally:
        for signal in sent:
            signal.disconnect(raising)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("failing_log")
def test_heart__beats_on_after_a_handler_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    beat, tries = claims.beat, iter([1, 2])

    def fail_twice(claims: list[claims.Claim]) -> None:
        if next(tries, None):
            raise RuntimeError("away")
        beat(claims)

    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(heartbeats, "beat", fail_twice)

    def job(operation: Job) -> None:
        operation.progress(40)
        until(lambda: Operation.objects.get().progress == 40)

    assert run(job).status == Status.SUCCEEDED


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("failing_log")
def test_rescue__is_not_undone_by_a_handler_that_raises() -> None:
    assert lifecycle.claim(services.submit(echo), worker="w")
    Operation.objects.update(lease_expires_at=after(-1))
    assert rescue.rescue() == 1


@pytest.mark.django_db(transaction=True)
def test_run__lease_is_renewed_while_a_receiver_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver delays the job only. The heart beats before receivers are called."""
    was_called, go_on = threading.Event(), threading.Event()

    def hang(**_: Any) -> None:
        was_called.set()
        assert go_on.wait(30)

    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.02)
    signals.operation_started.connect(hang)
    try:
        with in_thread(lambda: run(lambda operation: 7)) as future:
            assert was_called.wait(30)
            assert len(heartbeats._heart._claims) == 1
            services.cancel(Operation.objects.get())
            [claim] = heartbeats._heart._claims
            until(lambda: claim.interruption is not None)
            go_on.set()
            assert future.result(30).status == Status.SUCCEEDED
    finally:
        signals.operation_started.disconnect(hang)


def test_logger__names_the_line_of_its_caller(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger.info("Operation id=%s", 7)
    logger.log(logging.WARNING, "Operation id=%s", 7)
    try:
        raising()
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
