"""Asks Celery's routes to which queue the messages of a kind go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import current_app
from celery.app.task import extract_exec_options  # type: ignore[attr-defined]  # the stubs lack it
from celery.utils.time import rate
from kombu.transport.virtual.exchange import TopicExchange

#: Options of a task that Celery does not show to routers. They are parameters of `send_task`.
UNROUTED_OPTIONS = frozenset({"expires", "soft_time_limit", "time_limit"})


class Unroutable(Exception):
    """Celery's routes fail for a kind. Correct CELERY_TASK_ROUTES."""


@dataclass(frozen=True)
class Route:
    """The address of a kind's messages.

    `queue` is '' if the address is an exchange that does not lead to exactly one known queue.
    """

    queue: str
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = None


#: Stands for the route of a kind if Celery's routes fail for it.
UNKNOWN = Route(queue="")


def kinds() -> list[str]:
    """The names of the kinds that this process has imported, in order."""
    return sorted(name for name, task in current_app.tasks.items() if hasattr(task, "kind"))


def route(kind: str, *, queue: str = "", priority: int | None = None) -> Route:
    """The route of a kind, for an operation that may have its own queue and priority.

    Raises Unroutable.
    """
    options = routed_options(kind, queue=queue, priority=priority)
    return Route(
        queue=_queue_of(options),
        exchange=_name(options.get("exchange")),
        routing_key=str(options.get("routing_key") or ""),
        priority=options.get("priority"),
    )


def route_or_unknown(kind: str, *, queue: str = "", priority: int | None = None) -> Route:
    """The same, but UNKNOWN if Celery's routes fail. For callers that send nothing."""
    try:
        return route(kind, queue=queue, priority=priority)
    except Unroutable:
        return UNKNOWN


def routed_options(kind: str, *, queue: str = "", priority: int | None = None) -> dict[str, Any]:
    """The options of a message after Celery's routes. Routers see the same as for `.delay()`.

    Any error of a router is raised as Unroutable.
    """
    task: Any = current_app.tasks.get(kind)
    hidden = UNROUTED_OPTIONS | {"priority"}
    declared = declared_options(kind).items()
    options = {name: value for name, value in declared if name not in hidden}
    if queue:
        options["queue"] = queue
    if priority is not None:
        options["priority"] = priority
    try:
        options = current_app.amqp.router.route(options, kind, (), {}, task)
        if options.get("priority") is None:
            options["priority"] = current_app.conf.task_default_priority
    except Exception as error:
        raise Unroutable(f"{type(error).__name__}: {error}") from error
    return {name: value for name, value in options.items() if value is not None}


def seconds_between_starts(kind: str) -> float:
    """The time that the rate limit of a kind sets between two starts in one worker; 0: no limit."""
    limit: Any = getattr(current_app.tasks.get(kind), "rate_limit", None)
    per_second = 0 if current_app.conf.worker_disable_rate_limits else rate(limit)
    return 1 / per_second if per_second else 0.0


def declared_options(kind: str) -> dict[str, Any]:
    """The options for Celery that the declaration of a kind sets for its messages."""
    task = current_app.tasks.get(kind)
    options = extract_exec_options(task) if task is not None else {}
    return {name: value for name, value in options.items() if value is not None}


def _name(exchange: Any) -> str:
    return str(getattr(exchange, "name", exchange) or "")


def _queue_of(options: Mapping[str, Any]) -> str:
    """The one queue that messages with these options reach; '' if there is no such queue."""
    queue, exchange = options.get("queue"), options.get("exchange")
    if queue is not None:
        return str(queue.name)
    if exchange is None:
        return str(current_app.conf.task_default_queue)
    address = _name(exchange), str(options.get("routing_key") or "")
    queues = current_app.amqp.queues.values()
    names = {queue.name for queue in queues if _reaches(*address, queue=queue)}
    return str(names.pop()) if len(names) == 1 else ""


def _reaches(exchange: str, routing_key: str, *, queue: Any) -> bool:
    """Whether a message to `exchange` with `routing_key` arrives in `queue`."""
    if not exchange:
        return bool(queue.name == routing_key)
    for binding in queue.bindings or [queue]:
        if _name(binding.exchange) != exchange:
            continue
        key = binding.routing_key or ""
        match binding.exchange.type:
            case "fanout":
                return True
            case "topic" if re.fullmatch(TopicExchange(None).key_to_pattern(key), routing_key):
                return True
            case "direct" if key == routing_key:
                return True
    return False
