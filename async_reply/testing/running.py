"""Runs submitted operations at once, for the tests of a project.

No broker is needed, because operations are read from the database. A test may run inside the
transaction of TestCase.
"""

from async_reply import lifecycle
from async_reply.attempts import rescue
from async_reply.attempts.reports import Ending, Report
from async_reply.database.clock import DatabaseNow
from async_reply.models import Operation, OperationStep
from async_reply.status import Status
from async_reply.tasks import get_task
from async_reply.testing.interruptions import Interruption, WorkerLost

WORKER = "run_operations"


def run_operations(
    *, limit: int = 1000, advance: bool = False, interruption: Interruption | None = None
) -> list[Report]:
    """Run due operations, oldest first, until none is left; return one report for each attempt.

    With `advance`, each delay is taken as over once nothing else is due: retries, `available_at`,
    sleeps, times for an answer, and leases of lost workers. Without it these operations stay as
    they are. `interruption` ends the first attempt that reaches its call. Raises AssertionError
    after `limit` attempts, and when no attempt reached the call.
    """
    reports: list[Report] = []
    while (operation := _next(advance=advance)) is not None:
        if len(reports) >= limit:
            raise AssertionError(f"{limit} attempts did not empty the queue: do jobs submit jobs?")
        reports.append(_run(operation, interruption))
    if interruption is not None:
        interruption.check_reached()
    return reports


def _next(*, advance: bool) -> Operation | None:
    while True:
        due = Operation.objects.due().order_by("available_at", "pk").first()
        if due is not None or not advance or not _end_a_delay():
            operation: Operation | None = due
            return operation


def _end_a_delay() -> bool:
    """Let all leases end, or else the delay that ends first; whether there was one."""
    active = Operation.objects.active()
    for pk, worker in active.values_list("pk", "worker"):
        lifecycle.expire_lease(pk, worker=worker, timed_out=False)
    if rescue.rescue():
        return True
    delayed = Operation.objects.filter(status=Status.PENDING).order_by("available_at", "pk")
    first = delayed.values_list("pk", flat=True).first()
    pauses = OperationStep.objects.filter(operation=first, until__gt=DatabaseNow())
    pauses.update(until=DatabaseNow())
    return Operation.objects.filter(pk=first).update(available_at=DatabaseNow()) > 0


def _run(operation: Operation, interruption: Interruption | None) -> Report:
    task = get_task(operation.kind)
    if interruption is None:
        return task.perform(operation.pk, worker=WORKER, inline=True)
    try:
        with interruption.watching(task.kind):
            return task.perform(operation.pk, worker=WORKER, inline=True)
    except WorkerLost as error:
        return Report(Ending.LOST, error)
