"""Runs submitted operations at once, for the tests of a project.

No broker is needed, because operations are read from the database. A test may run inside the
transaction of TestCase.
"""

from async_reply.attempts.runner import Ending, Report
from async_reply.models import Operation
from async_reply.tasks import get_task

__all__ = ["Ending", "Report", "run_operations"]


def run_operations(*, limit: int = 1000) -> list[Report]:
    """Run due operations, oldest first, until none is left; return one report for each attempt.

    Retries that are not due yet stay pending. Raises AssertionError after `limit` attempts.
    """
    reports: list[Report] = []
    while (operation := Operation.objects.due().order_by("available_at", "pk").first()) is not None:
        if len(reports) >= limit:
            raise AssertionError(f"{limit} attempts did not empty the queue: do jobs submit jobs?")
        task = get_task(operation.kind)
        reports.append(task.perform(operation.pk, worker="run_operations", inline=True))
    return reports
