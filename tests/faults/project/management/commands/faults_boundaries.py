"""Lets a child process die at each boundary. Then other processes finish its operation."""

import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from async_reply import lifecycle
from async_reply.attempts import rescue
from async_reply.database.leases import lease_seconds
from async_reply.models import Operation
from async_reply.publishing import relay
from async_reply.publishing.broker import breaker
from async_reply.tasks import get_task
from async_reply.testing import run_operations
from tests.faults.project.boundaries import ATTEMPT, DIED, RELAY, RESCUE, SUBMIT, Boundary, submit

PATIENCE_SECONDS = 60.0


class Command(BaseCommand):
    help = "Lets one child die at each boundary. The rows show the outcome."

    def handle(self, *_args: Any, **_options: Any) -> None:
        for boundary in SUBMIT:
            _die(boundary, partial(submit, boundary))
        for boundary in RELAY:
            _leave_unpublished(boundary)
            _die(boundary, relay.publish_due)
        relay.publish_due()
        for boundary in ATTEMPT:
            operation = submit(boundary)
            _die(boundary, partial(_attempt, operation.pk))
        _finish_all()
        for boundary in RESCUE:
            operation = submit(boundary)
            _die(Boundary("", lifecycle, "claim_unread"), partial(_attempt, operation.pk))
            time.sleep(lease_seconds() + 0.2)
            _die(boundary, rescue.rescue)
        _finish_all()


def _die(boundary: Boundary, work: Callable[[], object]) -> None:
    """Do `work` in a child that has to die at the boundary; CommandError if it survives."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        try:
            boundary.arm()
            work()
        except BaseException:  # noqa: BLE001 the parent reads the exit code
            traceback.print_exc()
        finally:
            os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != DIED:
        raise CommandError(
            f"The child did not reach the boundary {boundary.name!r}, and exited with {code}."
        )


def _attempt(pk: Any) -> None:
    kind = Operation.objects.values_list("kind", flat=True).get(pk=pk)
    get_task(kind).perform(pk, worker="doomed", inline=False)


def _leave_unpublished(boundary: Boundary) -> None:
    """Submit an operation as while the broker is down: its message is not sent."""
    breaker.trip()
    submit(boundary)
    breaker.reset()


def _finish_all() -> None:
    """Rescue lost operations and run due ones, as healthy workers do."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while Operation.objects.unfinished().exists() and time.monotonic() < give_up:
        rescue.rescue()
        run_operations()
        time.sleep(0.1)
