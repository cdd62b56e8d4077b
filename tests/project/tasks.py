"""Tasks that tests submit."""

import ctypes
import time
from typing import Any

from async_reply.attempts.jobs import Job
from async_reply.attempts.results import JobResult
from async_reply.exceptions import OperationFailed
from async_reply.models import Operation
from async_reply.tasks import operation_task
from tests.project.disturbances import WAYS
from tests.project.questions import approve as approve
from tests.project.stepped import deadly_steps as deadly_steps
from tests.project.stepped import long_steps as long_steps
from tests.project.talking import talk as talk


@operation_task
def echo(operation: Job) -> Any:
    """Returns its input."""
    return operation.input


@operation_task(name="tests.refuse")
def refuse(operation: Job) -> None:
    raise OperationFailed("The year is not over.", code="year-not-over", status_code=422)


@operation_task(name="tests.break_down")
def break_down(operation: Job) -> None:
    raise ZeroDivisionError("a secret of the server")


@operation_task(name="tests.export")
def export(operation: Job) -> JobResult:
    return operation.file("a;b\n1;2\n", name="Übung 1.csv", content_type="text/csv")


@operation_task(name="tests.create")
def create(operation: Job) -> JobResult:
    return operation.created("thing", number=7)


@operation_task(name="tests.forward")
def forward(operation: Job) -> JobResult:
    return operation.redirect("https://files.example.org/report.pdf")


@operation_task(name="tests.read")
def read(operation: Job, *, files: list[Any], title: str) -> dict[str, Any]:
    return {"title": title, "contents": [file.read().decode() for file in files]}


@operation_task(name="tests.upper")
def upper(operation: Job, *, files: list[Any], title: str) -> JobResult:
    lines = (line.upper() for file in files for line in file)
    return operation.file(lines, name=title, content_type="text/csv")


@operation_task(name="tests.persist", cancel="never", max_losses=0)
def persist(operation: Job) -> None:
    return None


@operation_task(name="tests.overrun", time_limit=2)
def overrun(operation: Job, *, calls: bool) -> None:
    """Runs longer than its time limit, with or without calls of its handle."""
    while True:
        time.sleep(0.1)
        if calls:
            operation.progress(50)


@operation_task(name="tests.stubborn", cancel="interrupt")
def stubborn(operation: Job, *, calls: bool) -> None:
    """Sleeps for minutes in one system call."""
    operation.progress(1)
    time.sleep(600)


@operation_task(name="tests.deaf")
def be_deaf(operation: Job, *, calls: bool) -> None:
    """Sleeps for minutes in one system call, and cannot be interrupted."""
    time.sleep(600)


@operation_task(name="tests.expected", expected_duration=300)
def expected(operation: Job) -> None:
    return None


def digits(operation: Operation) -> int:
    """The size class of an input. Raises LookupError for a number of rows without a class."""
    return {1: 1, 100: 3, 1000: 4}[operation.input["rows"]]


@operation_task(name="tests.sized", get_estimate_key=digits)
def sized(operation: Job, *, rows: int) -> None:
    return None


@operation_task(name="tests.hold_gil")
def hold_gil(operation: Job, *, calls: bool) -> dict[str, int]:
    """Stops all other threads of its process during the first attempt."""
    if operation.attempt == 1:
        ctypes.PyDLL(None).sleep(10)
        operation.check_canceled()
    return {"attempt": operation.attempt}


@operation_task(name="tests.disturb", time_limit=4)
def disturb(operation: Job, *, way: str) -> Any:
    """Harms its process in one of the ways of WAYS."""
    return WAYS[way](operation)


@operation_task(name="tests.wait", max_losses=1)
def wait(operation: Job, *, calls: bool) -> int:
    """Its first attempt never ends by itself."""
    while operation.attempt == 1:
        time.sleep(0.1)
        if calls:
            operation.progress(50, message="half")
    return operation.attempt


@operation_task(name="tests.once", max_losses=0)
def once(operation: Job, *, calls: bool) -> int:
    """Never ends by itself, and may be attempted only once."""
    while True:
        time.sleep(0.1)
