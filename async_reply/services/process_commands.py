"""Gives commands of operators to the process of a running operation, for the admin."""

import time

from django.db import connections

from async_reply.attempts import process_commands
from async_reply.database import alias
from async_reply.exceptions import NotRunning
from async_reply.logs import logger
from async_reply.models import Operation, ProcessCommand
from async_reply.status import ACTIVE

#: Seconds that `show_stack` waits for the answer. A process answers at its next heartbeat.
ANSWER_SECONDS = 3.0
PAUSE_SECONDS = 0.1


def end_process(operation: Operation) -> None:
    """Have the process that runs the operation end in the middle of the job.

    The attempt counts as lost: the operation is run again, or fails when no losses are left. One
    that is canceling is canceled. A process that runs other jobs as well does not end. Raises
    NotRunning if no attempt runs.
    """
    _give(operation, ProcessCommand.Name.END)


def show_stack(operation: Operation) -> ProcessCommand:
    """Ask the process that runs the operation where its job is, and wait some seconds.

    The command that is returned has the answer, unless the process is late. Raises NotRunning if
    no attempt runs.
    """
    _give(operation, ProcessCommand.Name.SHOW_STACK)
    give_up = time.monotonic() + ANSWER_SECONDS
    while True:
        command: ProcessCommand = ProcessCommand.objects.get(
            operation_id=operation.pk, name=ProcessCommand.Name.SHOW_STACK
        )
        # The process sees the command only after the commit of a transaction around this call.
        is_visible = not connections[alias()].in_atomic_block
        if command.answered_at or not is_visible or time.monotonic() >= give_up:
            return command
        time.sleep(PAUSE_SECONDS)


def _give(operation: Operation, name: ProcessCommand.Name) -> None:
    if operation.status not in ACTIVE or not process_commands.give(operation, name):
        raise NotRunning("No attempt of this operation runs: its process has nothing to obey.")
    logger.event("commanded", operation, command=name.value, worker=operation.worker)
