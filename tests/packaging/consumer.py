"""The code of a project, for type checkers. Each assert_type and each ignore is an expectation.

test_types.py checks this file with mypy against the installed package, with and without stubs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from async_reply import services
from async_reply.attempts.jobs import Job
from async_reply.attempts.reports import Ending, Report
from async_reply.attempts.results import JobResult
from async_reply.exceptions import OperationFailed
from async_reply.models import Operation
from async_reply.permissions import OperationAccess
from async_reply.status import Status
from async_reply.tasks import OperationTask, operation_task
from async_reply.testing import run_operations
from async_reply.views import LongRunningOperationMixin, LongRunningOperationView


@operation_task
def bare(operation: Job) -> JobResult:
    assert_type(operation.id, UUID)
    assert_type(operation.attempt, int)
    return operation.file("a;b", name="a.csv", content_type="text/csv")


@operation_task(max_retries=3, autoretry_for=(OSError,), max_losses=0, soft_time_limit=300)
def export(operation: Job, *, year: int, format: str = "csv") -> dict[str, int]:
    for month in operation.track(range(1, 13), description="Month"):
        assert_type(month, int)
    if year > 2026:
        raise OperationFailed("The year is not over.", status_code=422)
    return {"year": year}


def call(job: Job) -> None:
    assert_type(bare(job), JobResult)
    assert_type(export(job, year=2026), dict[str, int])
    assert_type(export.name, str)
    export(job)  # type: ignore[call-overload]
    export(job, year="2026")  # type: ignore[call-overload]


def declare() -> None:
    def without(year: int) -> None: ...

    operation_task(max_losses="0")  # type: ignore[call-overload]
    operation_task(without)  # type: ignore[arg-type]


class ExportView(LongRunningOperationView):
    task = export
    redirect_status = 303

    def get_input(self, serializer: Any) -> dict[str, Any]:
        return {**super().get_input(serializer), "format": "pdf"}

    def perform_submit(self, operation: Operation) -> None:
        assert_type(operation.is_gone, bool)

    def get_accepted_headers(self, operation: Operation) -> Mapping[str, str]:
        return {"X-Kind": "export"}


class ManualView(LongRunningOperationMixin):
    def post(self, request: Any) -> Any:
        return self.submit(request, export, {"year": 2026})


class TenantAccess(OperationAccess):
    def get_owner(self, request: Any) -> str:
        return f"tenant:{super().get_owner(request)}"


def submit(task: "OperationTask[..., Any]", at: datetime) -> Operation:
    assert_type(services.submit(export, input={"year": 2026}, owner="7"), Operation)
    services.submit(export, {"year": 2026})  # type: ignore[call-arg]
    services.submit(print)  # type: ignore[arg-type]
    operation = services.submit(task, available_at=at, extra={"a": 1})
    assert_type(services.cancel(operation), Status)
    return operation


def check() -> None:
    reports = run_operations()
    assert_type(reports, list[Report])
    assert_type(reports[0].ending, Ending)
    assert_type(reports[0].error, BaseException | None)
