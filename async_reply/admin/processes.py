"""Says on an operation's page whether the process that runs it lives, and can be ended."""

from django.utils.translation import gettext as _

from async_reply.database.clock import seconds_until
from async_reply.estimates import wording
from async_reply.models import Operation, Worker

#: Workers look for leases that are over each five seconds. Clocks may differ a little.
SILENT_SECONDS = 15


def why_it_stays(operation: Operation) -> str:
    """Why the process of a running operation cannot be ended; '' if it can, by all that is known.

    The process decides once more. Workers of the pool prefork run each job in a child process,
    and only such a process can be ended without harm to other jobs.
    """
    lease_end = operation.lease_expires_at
    if lease_end is not None and seconds_until(lease_end) < -SILENT_SECONDS:
        return _(
            "Its process is dead or frozen, and obeys no command: its lease was over at "
            "%(moment)s. A living worker takes the operation back. If none lives, start one."
        ) % {"moment": wording.moment(lease_end)}
    # The name of a process is `node/pid-boot`.
    pid, _separator, boot = operation.worker.rpartition("/")[2].partition("-")
    if not boot or not pid.isdecimal():
        return ""
    if not Worker.objects.filter(boot_id=boot, pid=int(pid)).exists():
        return ""
    return _(
        "Its process cannot be ended: it is the worker itself, and runs other jobs as well. That "
        "is so with the pools threads, gevent and solo. Stop the worker instead."
    )
