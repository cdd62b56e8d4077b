"""The demo's kinds of work."""

import os
import signal
import time
from typing import Any

from async_reply.exceptions import OperationFailed
from async_reply.jobs import Job
from async_reply.tasks import operation_task
from demo_project.csv_profiles import profile
from demo_project.csv_rows import CsvError


@operation_task(name="demo.profile_csv")
def profile_csv(operation: Job, *, file: Any) -> dict[str, Any]:
    """Say of each column of a CSV file what is in it."""

    def show(rows: int, done: int) -> None:
        operation.progress(done, file.size, f"{rows:,} rows read")

    try:
        return profile(file, on_batch=show)
    except CsvError as error:
        raise OperationFailed(str(error), code="csv-invalid", status_code=422) from error


@operation_task(name="demo.sleep")
def sleep(
    operation: Job, *, seconds: float, steps: int, outcome: str, value: Any
) -> dict[str, Any]:
    """Sleep in steps, then end as asked: what clients and operators try things with."""
    for _step in operation.track(range(steps), description="Step"):
        time.sleep(seconds / steps)
    if outcome == "fail":
        raise OperationFailed("The sleep was asked to fail.", code="sleep-failed")
    if outcome == "crash" or (outcome == "crash_once" and operation.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"slept": seconds, "value": value}
