"""Drops Celery's log line about a failed job, because the runner has logged the failure already.

The task marks its request when the runner has logged. Celery's log of every other error stays.
"""

import logging
from typing import Any

from celery import current_app

from async_reply import logs

#: The logger on which Celery's worker reports the end of a task.
LOGGER = "celery.app.trace"


class LoggedFailures(logging.Filter):
    """Drops errors of operation tasks whose request says that they were logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        data: Any = getattr(record, "data", None)
        if record.levelno < logging.ERROR or not isinstance(data, dict):
            return True
        # Imported here, since `django.setup()` imports this module.
        from async_reply.tasks import OperationTask

        task: Any = current_app.tasks.get(str(data.get("name")))
        if not isinstance(task, OperationTask) or task.request.id != data.get("id"):
            return True
        return not getattr(task.request, "is_failure_logged", False)


_logged_failures = LoggedFailures()


def drop_logged_failures() -> None:
    """Add the filter to the log of Celery's worker."""
    logs.add_filter(_logged_failures, [LOGGER])
