"""Receives Celery's signals in a worker: starts and stops maintenance, cancels revoked operations.

`async_reply.apps` says which function receives which signal, and imports this module with the first
signal. An eager task in a web process sends one too, so no module of `celery.worker` is imported.
"""

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from celery import current_app
from django.db import connections

from async_reply import database, lifecycle, services
from async_reply.attempts import interrupts, reports, sessions, surroundings
from async_reply.database import alias
from async_reply.exceptions import AlreadyFinished, NotCancelable
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.signals import announce_finished
from async_reply.status import Status
from async_reply.tasks import OperationTask
from async_reply.worker import duties, presence
from async_reply.worker.maintenance import Duty, Maintenance

_threads: list[Maintenance] = []
_starting = threading.Lock()


def clear_stop(**_kwargs: Any) -> None:
    """Let a worker run jobs that starts in a process where another worker has stopped."""
    interrupts.stopping.clear()


def start_maintenance(sender: Any = None, **_kwargs: Any) -> None:
    """Start the threads once the worker is connected to its broker."""
    worker = presence.Presence(**_describe(sender))

    def renew() -> int:
        return worker.report(queues=_queues_read_by(sender), concurrency=_concurrency_of(sender))

    report = Duty("presence", 10, renew)
    additional = [make_duty(sender) for make_duty in duties.additional]
    with _starting:
        if not _threads:
            # The first thread has a connection at all times. The second one closes its own.
            frequent = [duty for duty in additional if duty.keeps_connection]
            rare = [duty for duty in additional if not duty.keeps_connection]
            delivery = [report, *duties.delivery(), *frequent]
            _threads.append(Maintenance(delivery, on_stop=worker.delete))
            _threads.append(Maintenance([*duties.cleanup(), *rare]))
            for thread in _threads:
                thread.start()
            # A cold shutdown sends no worker_shutdown. Forked processes have no threads to stop.
            atexit.register(stop_maintenance)


def reset_process(sender: Any = None, **_kwargs: Any) -> None:
    """Undo the damage that an earlier task of any kind did to this process's connections."""
    if isinstance(sender, OperationTask) and not sender.request.is_eager:
        sessions.reset_open()
        surroundings.clear_running_loop()


def wrap_stop_handlers(**_kwargs: Any) -> None:
    """Have jobs told to stop before Celery handles a signal.

    Celery sends no signal of its own about a restart by SIGHUP. About a cold shutdown it sends one
    only when all processes have ended.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        handler = signal.getsignal(number)
        is_wrapped = isinstance(handler, partial) and handler.func is _stop_jobs_first
        if callable(handler) and not is_wrapped:
            signal.signal(number, partial(_stop_jobs_first, handler))


def _stop_jobs_first(handler: Callable[..., Any], number: int, frame: Any) -> None:
    """Tell jobs to stop, then call Celery's `handler`.

    On the pool solo this runs in the middle of a job. An exception of Celery's handler must not
    look like an error of this job.
    """
    interrupts.stopping.set()
    try:
        handler(number, frame)
    except NotImplementedError as error:
        # A cold shutdown ends the processes of jobs. The pool solo has none.
        logger.info("Jobs end at their next call: %s", error)
    except SystemExit as error:
        # Pools use this code to end a process in the middle of its job.
        raise SystemExit(number - 256) from error
    finally:
        # Celery has set other handlers for the second signal.
        wrap_stop_handlers()


def stop_jobs(**_kwargs: Any) -> None:
    """Have running jobs end at their next call. Another worker then runs their operations."""
    interrupts.stopping.set()


def stop_maintenance(**_kwargs: Any) -> None:
    """Wait until the threads have ended their turns, for seconds at most."""
    with _starting:
        while _threads:
            _threads.pop().stop()


def cancel_revoked(
    request: Any = None, terminated: bool = False, expired: bool = False, **_kwargs: Any
) -> None:
    """Cancel the operation of a task that is revoked, in flower or by Celery's remote control.

    A message that expired is reported as revoked, too. It cancels nothing.
    """
    if expired:
        return
    name, task_id = getattr(request, "task", ""), getattr(request, "id", "")
    # A process that survived a terminate is reported as terminated whenever a later job kills it.
    if terminated and not _is_revoked(task_id):
        return
    with _operation_of(name, task_id) as operation:
        if operation is None:
            return
        try:
            services.cancel(operation)
        except (AlreadyFinished, NotCancelable) as refusal:
            logger.info("Operation id=%s revoked in vain: %s", operation.pk, refusal)


def _is_revoked(task_id: Any) -> bool:
    """Whether this worker was told to revoke the task."""
    # Imported here, since a web process must not import modules of `celery.worker`.
    from celery.worker.state import revoked

    return task_id in revoked


def reject_unknown(name: str = "", id: str = "", **_kwargs: Any) -> None:
    """Fail an operation whose kind no worker has known for an hour.

    Until then it stays pending, since a deploy may be on its way.
    """
    with _operation_of(name, id) as operation:
        if operation is None:
            return
        logger.error(
            "Operation id=%s kind=%s: this worker does not know the kind. Celery looks for "
            "tasks.py in each app; name other modules in CELERY_IMPORTS.",
            id,
            name,
        )
        if lifecycle.reject(operation):
            reports.log_end(operation, Status.FAILED, code="unknown-kind")
            announce_finished(operation, Status.FAILED)


@contextmanager
def _operation_of(name: str, task_id: str) -> Iterator[Operation | None]:
    """The operation of a message; None for a task that is not ours.

    Closes the connection afterwards, since nothing else does so in the worker's main process.
    """
    try:
        pk = UUID(task_id)
    except (AttributeError, TypeError, ValueError):
        yield None
        return
    try:
        yield Operation.objects.filter(pk=pk, kind=name).first()
    finally:
        if not connections[alias()].in_atomic_block:
            database.disconnect()


def _describe(consumer: Any) -> dict[str, Any]:
    """Name, concurrency and queues of the worker whose consumer sent `worker_ready`."""
    queues = _queues_read_by(consumer)
    return {
        "name": getattr(consumer, "hostname", "") or "worker",
        "concurrency": _concurrency_of(consumer),
        "queues": list(current_app.amqp.queues.consume_from) if queues is None else queues,
    }


def _concurrency_of(consumer: Any) -> int:
    """The most jobs that a worker runs at once at the moment; 0 if that is unknown.

    The worker's option --concurrency is no answer: the pool solo and --autoscale ignore it, and
    Celery's remote control lets a pool grow and shrink.
    """
    controller = getattr(consumer, "controller", None)
    autoscaler = getattr(controller, "autoscaler", None)
    if autoscaler is not None:
        return int(autoscaler.max_concurrency)
    pool = getattr(controller, "pool", None)
    return int(getattr(pool, "num_processes", None) or getattr(controller, "concurrency", 0) or 0)


def _queues_read_by(consumer: Any) -> list[str] | None:
    """The queues that a worker reads at the moment; None while it is not connected.

    A worker that stops reads none, for as long as its jobs run to their end.
    Celery's remote control changes them. Its list `consume_from` may hold more: before Celery 5.6
    each queue that a message was sent to.
    """
    if interrupts.stopping.is_set():
        return []
    task_consumer = getattr(consumer, "task_consumer", None)
    return None if task_consumer is None else [queue.name for queue in task_consumer.queues]
