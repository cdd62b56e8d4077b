"""What a Celery worker does beside running jobs: maintenance, and hearing of what Celery does."""

import atexit
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from celery import current_app, signals
from celery.worker.state import revoked
from django.db import connections

from async_reply import database, lifecycle, services
from async_reply.attempts import interrupts, sessions, surroundings
from async_reply.database import alias
from async_reply.exceptions import AlreadyFinished, NotCancelable
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.signals import announce_finished
from async_reply.status import Status
from async_reply.tasks import OperationTask
from async_reply.worker import duties, pools, presence
from async_reply.worker.maintenance import Maintenance, Step

_threads: list[Maintenance] = []
_starting = threading.Lock()


@signals.worker_init.connect
def forget_stop(**_kwargs: Any) -> None:
    """A worker that starts in a process where another one has stopped."""
    interrupts.stopping.clear()


@signals.worker_ready.connect
def start_maintenance(sender: Any = None, **_kwargs: Any) -> None:
    """Start the threads once the worker is connected."""
    worker = presence.Presence(**_describe(sender))
    report = Step("report", 10, worker.report)
    count = Step("connections", 3600, partial(_count_connections, *_pool(sender)))
    with _starting:
        if not _threads:
            keeping = Maintenance([report, *duties.steps()], farewell=worker.leave)
            _threads.extend((keeping, Maintenance([*duties.cleaning_steps(), count])))
            for thread in _threads:
                thread.start()
            # A cold shutdown sends no worker_shutdown. Forked processes have no threads to stop.
            atexit.register(stop_maintenance)


@signals.worker_ready.connect
def describe_pool(sender: Any = None, **_kwargs: Any) -> None:
    """Say what operations have to do without on this worker's pool."""
    pool, concurrency = _pool(sender)
    for each in pools.shortcomings(pool, driver=pools.driver(), concurrency=concurrency):
        _warn(each)


def _count_connections(pool: str, concurrency: int) -> int:
    """Say where the database allows fewer connections than this worker wants; 0, as a step."""
    for each in pools.few_connections(pool, concurrency):
        _warn(each)
    return 0


def _warn(each: pools.Shortcoming) -> None:
    logger.warning("async_reply.W%s: %s %s", each.number, each.text, each.hint)


def _pool(consumer: Any) -> tuple[str, int]:
    """The pool of the worker that `worker_ready` speaks of, and its most processes or threads."""
    controller = getattr(consumer, "controller", None)
    most = getattr(controller, "max_concurrency", 0) or getattr(controller, "concurrency", 0)
    return pools.name_of(type(getattr(consumer, "pool", None))), int(most or 0)


@signals.task_prerun.connect
def begin_afresh(sender: Any = None, **_kwargs: Any) -> None:
    """A process keeps its connections: whatever task came before may have left one spoiled."""
    if isinstance(sender, OperationTask) and not sender.request.is_eager:
        sessions.reset_open()
        surroundings.clear_running_loop()


@signals.worker_ready.connect
def announce_stops(**_kwargs: Any) -> None:
    """Celery tells of a restart by SIGHUP to nobody, and of a cold shutdown when all is over."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        handler = signal.getsignal(number)
        is_ours = isinstance(handler, partial) and handler.func is _announce_stop
        if callable(handler) and not is_ours:
            signal.signal(number, partial(_announce_stop, handler))


def _announce_stop(handler: Callable[..., Any], number: int, frame: Any) -> None:
    """On the pool solo it interrupts a job, which is to fail by nothing that Celery raises here."""
    interrupts.stopping.set()
    try:
        handler(number, frame)
    except NotImplementedError as error:
        # A cold shutdown wants to end the processes of jobs, and solo has none.
        logger.info("Jobs end at their next call: %s", error)
    except SystemExit as error:
        # The code by which a pool ends a process in the midst of its job.
        raise SystemExit(number - 256) from error
    finally:
        # Celery puts others in their place, for the second signal.
        announce_stops()


@signals.worker_shutting_down.connect
def tell_jobs(**_kwargs: Any) -> None:
    """Running jobs leave at their next call, and another worker takes them over."""
    interrupts.stopping.set()


@signals.worker_shutdown.connect
def stop_maintenance(**_kwargs: Any) -> None:
    """Let the threads end their turns."""
    with _starting:
        while _threads:
            _threads.pop().stop()


@signals.task_revoked.connect
def cancel_revoked(
    request: Any = None, terminated: bool = False, expired: bool = False, **_kwargs: Any
) -> None:
    """Revoking in flower or by Celery's control cancels the operation; an old message does not."""
    # A process that survived a terminate is called terminated whatever kills it in a later job.
    if expired or (terminated and getattr(request, "id", "") not in revoked):
        return
    with _operation_of(getattr(request, "task", ""), getattr(request, "id", "")) as operation:
        if operation is None:
            return
        try:
            services.cancel(operation)
        except (AlreadyFinished, NotCancelable) as refusal:
            logger.info("Operation id=%s revoked in vain: %s", operation.pk, refusal)


@signals.task_unknown.connect
def reject_unknown(name: str = "", id: str = "", **_kwargs: Any) -> None:
    """A kind this worker does not know stays pending for an hour: a deploy may be on its way."""
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
            announce_finished(operation, Status.FAILED)


@contextmanager
def _operation_of(name: str, task_id: str) -> Iterator[Operation | None]:
    """The operation a message speaks of; Celery's signals come for foreign tasks as well.

    They come in the worker's main process, where nobody else looks after the connection.
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
    """Name, concurrency and queues of the worker that `worker_ready` speaks of."""
    queues = list(current_app.amqp.queues.consume_from)
    concurrency = getattr(getattr(consumer, "controller", None), "concurrency", 0)
    return {
        "name": getattr(consumer, "hostname", "") or "worker",
        "concurrency": int(concurrency or 0),
        "queues": queues,
    }
