"""Commands of operators to the process that runs an attempt: show the job's stack, or end.

`give` stores a command and adds one to `Operation.commands`. A heartbeat reads this number with the
status, so a process hears of a command at its next beat, and a beat without one costs nothing.
Celery's `revoke` would make a worker discard the later attempts as well.
"""

import logging
import os
import signal

from django.db import transaction
from django.db.models import F

from async_reply.attempts import processes
from async_reply.attempts.stacks import JobThread
from async_reply.database import alias
from async_reply.database.clock import DatabaseNow
from async_reply.logs import logger
from async_reply.models import Operation, ProcessCommand

Name = ProcessCommand.Name


def give(operation: Operation, name: ProcessCommand.Name) -> bool:
    """Store a command for the process of `operation.attempt`; False if the attempt has ended."""
    with transaction.atomic(using=alias()):
        rows = Operation.objects.active().filter(pk=operation.pk, attempt=operation.attempt)
        if not rows.update(commands=F("commands") + 1):
            return False
        given = {"given_at": DatabaseNow(), "answered_at": None, "answer": ""}
        ProcessCommand.objects.update_or_create(
            operation_id=operation.pk,
            name=name,
            defaults={"attempt": operation.attempt, **given},
        )
    return True


def obey(operation: Operation, *, thread: JobThread, inline: bool) -> None:
    """Do what operators told the process of this attempt, and store its answers.

    A process that runs more than this job answers that it does not end. One that ends stores
    nothing before: the job may hold a lock that such a write would wait for.
    """
    commands = ProcessCommand.objects.filter(
        operation_id=operation.pk, attempt=operation.attempt, answered_at=None
    )
    names = set(commands.values_list("name", flat=True))
    if Name.END in names:
        if not inline and processes.is_child_of_worker():
            _end_process(operation)
        commands.filter(name=Name.END).update(answered_at=DatabaseNow())
    if Name.SHOW_STACK in names:
        commands.filter(name=Name.SHOW_STACK).update(
            answered_at=DatabaseNow(), answer=thread.stack()
        )


def _end_process(operation: Operation) -> None:
    """Kill this process. Its worker hears of that, ends the lease and starts another process."""
    logger.event("process_ended", operation, level=logging.WARNING, worker=operation.worker)
    os.kill(os.getpid(), signal.SIGKILL)
