"""Says on an operation's page whether the process that runs it can be ended."""

from django.utils.translation import gettext as _

from async_reply.models import Operation, Worker


def why_it_stays(operation: Operation) -> str:
    """Why the process of a running operation cannot be ended; '' if it can, by all that is known.

    The process decides once more. Workers of the pool prefork run each job in a child process,
    and only such a process can be ended without harm to other jobs.
    """
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
