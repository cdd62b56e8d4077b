"""For the tests of projects: run what was submitted, here and now.

The row is the outbox, so no broker is needed and TestCase's transaction does no harm.
"""

from async_reply.attempts.runner import Ending, Report
from async_reply.models import Operation
from async_reply.tasks import get_task

__all__ = ["Ending", "Report", "run_operations"]


def run_operations(*, limit: int = 1000) -> list[Report]:
    """Run due operations, oldest first, until none is left; one report for each attempt.

    Retries that are not due yet stay pending. AssertionError after `limit` attempts.
    """
    reports: list[Report] = []
    while (operation := Operation.objects.due().order_by("available_at", "pk").first()) is not None:
        if len(reports) >= limit:
            raise AssertionError(f"{limit} attempts did not empty the queue: do jobs submit jobs?")
        task = get_task(operation.kind)
        reports.append(task.perform(operation.pk, worker="run_operations", inline=True))
    return reports
