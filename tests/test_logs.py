"""The project's log handlers may raise or hang, and no line of a log holds a valet key."""

import ast
import inspect
import logging
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client, RequestFactory
from pytest_django import Settings

import async_reply
from async_reply import lifecycle, services, signals
from async_reply.attempts import claims, heartbeats, outages, rescue, runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.database.clock import after
from async_reply.exceptions import OperationFailed, WorkerStopping
from async_reply.logs import ValetKeyFilter, logger
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


#: Values of a request that hold its URL, or a secret.
SECRETS = re.compile(
    r"\b(request(?!\.id)|url|urls|uri|path_info|full_path|valet_keys?|sig|META|headers)\b"
)


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call of the logger in the package, with the module that calls."""
    for module in MODULES:
        for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if ast.unparse(node.func.value).rpartition(".")[2] == "logger":
                yield module, node


def test_source__logs_no_value_of_a_request() -> None:
    """A URL may hold a valet key."""
    calls = list(log_calls())
    assert len(calls) > 50
    for module, call in calls:
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
                assert not SECRETS.search(ast.unparse(value)), (module, ast.unparse(call))


def test_source__lines_about_an_operation_have_one_shape() -> None:
    for module, call in log_calls():
        text = call.args[0] if call.func.attr != "log" else call.args[1]  # type: ignore[attr-defined]
        if isinstance(text, ast.Constant) and "Operation " in str(text.value):
            assert str(text.value).startswith("Operation id=%s "), (module, text.value)


def structured(record: logging.LogRecord) -> str:
    """The record as formatters for JSON write it: the text, and every attribute."""
    return logging.Formatter().format(record) + str(
        {name: str(value) for name, value in vars(record).items()}
    )


@pytest.fixture(params=[Client, AsyncClient])
def send(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Sends a request through Django's handler of WSGI or of ASGI."""
    client = request.param(raise_request_exception=False)

    def send_by(method: str, path: str, **fields: str) -> Any:
        call = partial(client.generic, method, path, "{}", "application/json", headers=fields)
        if request.param is Client:
            return call()

        async def wait() -> Any:
            return await call()

        return async_to_sync(wait)()

    return send_by


@pytest.mark.django_db(transaction=True)
def test_valet_key__is_in_no_line_of_any_log(
    send: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    """Django logs requests that are refused or fail, each with the request itself."""
    caplog.set_level(logging.DEBUG)
    settings.ALLOWED_HOSTS = ["testserver"]
    location = send("POST", "/open/")["Location"]
    [key] = parse_qs(urlsplit(location).query)["sig"]
    base = f"/api/operations/{Operation.objects.get().pk}/"
    other = f"/api/operations/{services.submit(echo).pk}/"
    query = f"?page=7&sig={key}"
    statuses = [
        send("GET", base + query).status_code,
        send("PUT", base + query).status_code,
        send("GET", f"{base}result/{query}").status_code,
        send("GET", other + query, referer=f"https://testserver{base}{query}").status_code,
        send("GET", f"/nowhere/{query}").status_code,
        send("GET", base + query, host="elsewhere").status_code,
    ]
    monkeypatch.setattr(lifecycle, "cancel", raising)
    statuses.append(send("POST", f"{base}cancel/{query}").status_code)
    assert statuses == [200, 401, 202, 404, 404, 400, 500]
    names = {record.name for record in caplog.records if hasattr(record, "request")}
    assert names >= {"django.request", "django.security.DisallowedHost"}
    texts = [structured(record) for record in caplog.records]
    assert not [text for text in texts if key in text]
    assert [text for text in texts if "page=7&sig=***" in text]


def test_filter__masks_lines_of_servers() -> None:
    line = logging.makeLogRecord(
        {"msg": "%s", "args": ('"GET /operations/1/?a=1&sig=k.1 HTTP/1.1"',)}
    )
    mapping = logging.makeLogRecord({"msg": "%(r)s", "args": {"r": "GET /?sig=k.1&b=2", "B": 512}})
    plain = logging.makeLogRecord({"msg": "GET /?sig=k.1", "args": (7, None)})
    for record in (line, mapping, plain):
        assert ValetKeyFilter().filter(record)
    assert line.getMessage() == '"GET /operations/1/?a=1&sig=*** HTTP/1.1"'
    assert mapping.getMessage() == "GET /?sig=***&b=2"
    assert (plain.msg, plain.args) == ("GET /?sig=***", (7, None))


def test_filter__gives_handlers_a_copy_of_the_request() -> None:
    """The view still reads the key. The mail of an error shows the URL without it."""
    request = RequestFactory().post("/a/?sig=k.1&b=2", {"c": 3}, HTTP_REFERER="/?sig=k.1")
    assert request.GET["sig"] == "k.1"
    record: Any = logging.makeLogRecord({"msg": "", "request": request})
    ValetKeyFilter().filter(record)
    assert record.request.get_full_path() == "/a/?sig=***&b=2"
    assert (record.request.GET["sig"], record.request.GET["b"]) == ("***", "2")
    assert record.request.POST["c"] == "3"
    assert "k.1" not in str(record.request.META)
    assert (request.GET["sig"], request.META["QUERY_STRING"]) == ("k.1", "sig=k.1&b=2")


def test_filter__leaves_a_request_without_key_as_it_is() -> None:
    request = RequestFactory().get("/a/?b=2")
    record: Any = logging.makeLogRecord({"msg": "", "request": request})
    ValetKeyFilter().filter(record)
    assert record.request is request
