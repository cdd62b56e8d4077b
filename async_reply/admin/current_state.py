"""Reads the present state for the dashboard: queues, workers, unsent messages and the broker.

Each read takes a bounded number of rows, in the order of an index.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from async_reply.admin import attention, columns, quantities
from async_reply.admin.moments import EMPTY, format_duration, seconds_between
from async_reply.admin.quantities import linked
from async_reply.publishing import broker
from async_reply.publishing.queues import UNSERVED_AFTER
from async_reply.statistics import backlog, workers
from async_reply.statistics.backlog import Backlog, Unpublished
from async_reply.statistics.workers import LivingWorker
from async_reply.status import Status

#: The most queues and workers that are shown, and the most jobs of one worker.
MAX_QUEUES = 100
MAX_WORKERS = 50
MAX_JOBS = 10
#: A message that is due for so long has not been sent because something fails.
UNPUBLISHED_AFTER_SECONDS = 60

#: Returns the URL of the list of operations with these filters.
ListLink = Callable[..., str]
#: Returns the URL of the page of the operation with this id.
PageLink = Callable[[object], str]


@dataclass(frozen=True)
class Figure:
    """A number with its name."""

    name: str
    label: str
    text: SafeString | str
    note: str = ""


@dataclass(frozen=True)
class Queue:
    """The row of a queue. Numbers are links to the list."""

    name: str
    label: SafeString | str
    waiting: SafeString | str
    oldest: SafeString | str
    running: SafeString | str
    capacity: str
    is_served: bool


@dataclass(frozen=True)
class WorkerRow:
    """The row of a living worker, with links to the operations that it runs."""

    key: str
    name: SafeString | str
    title: str
    busy: str
    idle: str
    queues: str
    jobs: list[SafeString]
    #: The number of jobs that are not shown.
    more: int


@dataclass(frozen=True)
class State:
    """The state at one moment, as the dashboard shows it."""

    problems: list[str]
    figures: list[Figure]
    queues: list[Queue]
    #: None: the user may not see workers.
    workers: list[WorkerRow] | None
    #: The numbers of queues and of workers that are not shown.
    more_queues: int
    more_workers: int


def read(*, list_link: ListLink, page_link: PageLink, shows_workers: bool) -> State:
    """The state now, by 14 queries and a question to the broker."""
    waiting, unpublished = backlog.read(), backlog.unpublished()
    living, is_reachable = workers.living(), broker.answers()
    queues = sorted(waiting.queues.values(), key=lambda queue: (-queue.waiting, queue.name))
    rows = [_worker(worker, page_link) for worker in living[:MAX_WORKERS]]
    return State(
        list(_problems(waiting, unpublished, is_reachable=is_reachable)),
        [
            *_figures(waiting, unpublished, living, list_link=list_link, is_reachable=is_reachable),
            *(_attention(name, list_link) for name in ("stuck", "overdue")),
        ],
        [_queue(queue, list_link) for queue in queues[:MAX_QUEUES]],
        rows if shows_workers else None,
        max(0, len(queues) - MAX_QUEUES),
        len(living) - len(rows),
    )


def _problems(waiting: Backlog, unpublished: Unpublished, *, is_reachable: bool) -> Iterator[str]:
    if not is_reachable:
        yield _("The broker does not answer.")
    if not waiting.workers:
        yield _("No worker lives.")
        return
    unserved = [queue.name for queue in waiting.queues.values() if _is_unserved(queue)]
    for name in unserved:
        text = _("Operations wait in queue %(queue)s, which no worker reads.")
        yield text % {"queue": name}
    # No message is sent into a queue that no worker reads.
    if not unserved and unpublished.oldest_seconds >= UNPUBLISHED_AFTER_SECONDS:
        text = _("An operation is due for %(duration)s, and its message is not sent.")
        yield text % {"duration": format_duration(unpublished.oldest_seconds)}


def _is_unserved(queue: backlog.Queue) -> bool:
    """Whether operations wait in the queue for longer than a worker takes to restart."""
    is_late = queue.oldest_seconds >= UNSERVED_AFTER.total_seconds()
    return bool(queue.name) and is_late and not queue.is_served


def _figures(
    waiting: Backlog,
    unpublished: Unpublished,
    living: list[LivingWorker],
    *,
    list_link: ListLink,
    is_reachable: bool,
) -> list[Figure]:
    oldest = max((queue.oldest_seconds for queue in waiting.queues.values()), default=0.0)
    busy, idle = sum(len(worker.running) for worker in living), sum(w.idle for w in living)
    lists = {
        "waiting": list_link(status=Status.PENDING.value, order="waiting"),
        "running": list_link(status=Status.RUNNING.value, order="longest"),
    }
    unsent = quantities.format_count(unpublished.count, is_exact=unpublished.is_exact)
    return [
        Figure(
            "waiting",
            _("Waiting"),
            linked(
                quantities.format_count(waiting.waiting, is_exact=waiting.is_exact),
                lists["waiting"],
            ),
        ),
        Figure("oldest", _("Oldest waiting"), _age(waiting.waiting, oldest, lists["waiting"])),
        Figure(
            "running",
            _("Running"),
            linked(quantities.format_count(waiting.running), lists["running"]),
        ),
        Figure("workers", _("Workers"), quantities.format_count(len(living))),
        Figure("busy", _("Busy processes"), quantities.format_count(busy)),
        Figure("idle", _("Idle processes"), quantities.format_count(idle)),
        Figure(
            "unpublished",
            _("Messages to send"),
            unsent,
            _age(unpublished.count, unpublished.oldest_seconds) if unpublished.count else "",
        ),
        Figure("broker", _("Broker"), _("answers") if is_reachable else _("does not answer")),
    ]


def _attention(name: str, list_link: ListLink) -> Figure:
    """How many operations somebody should look at, with a link to them."""
    rule = attention.RULES[name]
    found = len(rule.ids())
    text = quantities.format_count(found, is_exact=found < attention.MAX_FOUND)
    return Figure(name, str(rule.label), linked(text, list_link(attention=name)) if found else text)


def _queue(queue: backlog.Queue, list_link: ListLink) -> Queue:
    def link(**filters: str) -> str:
        return list_link(queue=queue.name, **filters) if queue.name else ""

    oldest_first = link(status=Status.PENDING.value, order="waiting")
    longest_first = link(status=Status.RUNNING.value, order="longest")
    return Queue(
        queue.name,
        columns.dotted(queue.name) if queue.name else _("exchanges"),
        linked(quantities.format_count(queue.waiting), oldest_first),
        _age(queue.waiting, queue.oldest_seconds, oldest_first),
        linked(quantities.format_count(queue.running), longest_first),
        quantities.format_count(queue.capacity),
        # Nobody can say which worker reads what an exchange leads to.
        queue.is_served or not queue.name,
    )


def _worker(worker: LivingWorker, page_link: PageLink) -> WorkerRow:
    jobs = [
        format_html(
            '<a href="{}">{}</a> {}',
            page_link(job.id),
            columns.dotted(job.kind),
            format_duration(seconds_between(job.since, None) or 0),
        )
        for job in worker.running[:MAX_JOBS]
    ]
    return WorkerRow(
        str(worker.id),
        worker.name,
        f"{worker.host} {worker.pid}",
        quantities.format_count(len(worker.running)),
        quantities.format_count(worker.idle),
        ", ".join(worker.queues),
        jobs,
        len(worker.running) - len(jobs),
    )


def _age(count: int, seconds: float, link: str = "") -> SafeString | str:
    return linked(format_duration(seconds), link) if count else EMPTY
