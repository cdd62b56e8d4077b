"""The demo's jobs."""

import os
import signal
import time
from typing import Any

from async_reply.attempts.jobs import Job
from async_reply.attempts.results import JobResult
from async_reply.exceptions import OperationCanceled, OperationFailed
from async_reply.models import Operation
from async_reply.tasks import operation_task
from demo_project import datasets, exports
from demo_project.csv_profiles import profile
from demo_project.csv_rows import CsvError


@operation_task(name="demo.profile_csv")
def profile_csv(operation: Job, *, file: Any) -> dict[str, Any]:
    """Profile the columns of a CSV file."""

    def show(rows: int, done: int) -> None:
        operation.progress(done, file.size, f"{rows:,} rows read")

    try:
        return profile(file, on_batch=show)
    except CsvError as error:
        raise _invalid(error) from error


def _invalid(error: CsvError) -> OperationFailed:
    return OperationFailed(str(error), code="csv-invalid", status_code=422)


@operation_task(name="demo.export")
def export(operation: Job, *, rows: int) -> JobResult:
    """Write a CSV file of `rows` rows. The memory does not grow with the file."""
    batches = exports.batches(rows)
    tracked = operation.track(batches, total=exports.count(rows), description="Batch")
    return operation.file(tracked, name=f"{rows}-rows.csv", content_type="text/csv")


@operation_task(name="demo.import_dataset")
def import_dataset(operation: Job, *, file: Any, name: str) -> JobResult:
    """Import the rows of a CSV file. The result is the dataset."""

    def show(rows: int, done: int) -> None:
        operation.progress(done, file.size, f"{rows:,} rows imported")

    try:
        rows = datasets.load(file, pk=operation.id, owner=operation.owner, name=name, on_batch=show)
    except CsvError as error:
        datasets.discard(operation.id)
        raise _invalid(error) from error
    except OperationCanceled:
        datasets.discard(operation.id)
        raise
    operation.on_finish(lambda: datasets.complete(operation.id, rows=rows))
    return operation.created("dataset", id=str(operation.id))


def _seconds(operation: Operation) -> str:
    """The key of estimates: sleeps of equal length have a history of their own."""
    return f"{operation.input['seconds']:.0f}"


@operation_task(name="demo.sleep", expected_duration=2, get_estimate_key=_seconds)
def sleep(
    operation: Job, *, seconds: float, steps: int, outcome: str, value: Any
) -> dict[str, Any]:
    """Sleep in steps, then end as the input says. Clients and operators try the demo with it."""
    for _step in operation.track(range(steps), description="Step"):
        time.sleep(seconds / steps)
    if outcome == "fail":
        raise OperationFailed("The sleep was asked to fail.", code="sleep-failed")
    if outcome == "crash" or (outcome == "crash_once" and operation.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"slept": seconds, "value": value}
