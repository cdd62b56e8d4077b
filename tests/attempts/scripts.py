"""Jobs that a test runs attempt by attempt."""

from collections.abc import Callable
from typing import Any

from async_reply import services
from async_reply.attempts import runner
from async_reply.attempts.jobs import Job
from async_reply.attempts.kinds import Kind
from async_reply.attempts.reports import Report
from async_reply.models import Operation
from tests.project.tasks import echo


class Script:
    """A job that later attempts run again, and what it called."""

    def __init__(self, function: Callable[[Job, list[str]], Any], **options: Any) -> None:
        self.calls: list[str] = []
        retries: dict[str, Any] = {"max_retries": 2, "autoretry_for": (OSError,)}
        options = retries | {"default_retry_delay": 0} | options
        self.kind = Kind(
            name=echo.name, function=lambda operation: function(operation, self.calls), **options
        )
        self.operation = services.submit(echo)
        rows = Operation.objects.filter(pk=self.operation.pk)
        rows.update(max_retries=options["max_retries"])

    def attempt(self) -> Report:
        report = runner.run(self.operation.pk, self.kind, worker="w1", inline=True)
        self.operation = Operation.objects.get(pk=self.operation.pk)
        return report
