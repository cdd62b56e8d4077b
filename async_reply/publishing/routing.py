"""Where Celery's routes send the messages of a kind, for whoever sends, counts or checks them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery import current_app
from celery.app.task import extract_exec_options  # type: ignore[attr-defined]  # the stubs lack it
from celery.utils.time import rate
from kombu.transport.virtual.exchange import TopicExchange

#: Options of a task that are parameters of `send_task`: Celery does not show them to routers.
UNROUTED = frozenset({"expires", "soft_time_limit", "time_limit"})


class Unroutable(Exception):
    """Celery's routes cannot say where messages of a kind go: mend CELERY_TASK_ROUTES."""


@dataclass(frozen=True)
class Route:
    """Where messages of a kind go.

    `queue` is '' where they go to an exchange, and not to exactly one queue that Celery knows.
    """

    queue: str
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = None


#: Of what Celery's routes cannot say.
UNKNOWN = Route(queue="")


def kinds() -> list[str]:
    """The kinds that this process knows."""
    return sorted(name for name, task in current_app.tasks.items() if hasattr(task, "kind"))


def route(kind: str, *, queue: str = "", priority: int | None = None) -> Route:
    """The route of a kind, whose operations may have a queue and a priority of their own.

    Raises Unroutable.
    """
    options = routed(kind, queue=queue, priority=priority)
    return Route(
        queue=_queue_of(options),
        exchange=_name(options.get("exchange")),
        routing_key=str(options.get("routing_key") or ""),
        priority=options.get("priority"),
    )


def route_or_unknown(kind: str, *, queue: str = "", priority: int | None = None) -> Route:
    """The same, for those who only look: UNKNOWN where Celery's routes fail."""
    try:
        return route(kind, queue=queue, priority=priority)
    except Unroutable:
        return UNKNOWN


def routed(kind: str, *, queue: str = "", priority: int | None = None) -> dict[str, Any]:
    """The options of a message as Celery's routes leave them, which are asked as by `.delay()`.

    Raises Unroutable, whatever a router of the project raises.
    """
    task: Any = current_app.tasks.get(kind)
    declared = options_of(kind).items()
    options = {name: value for name, value in declared if name not in UNROUTED | {"priority"}}
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


def interval(kind: str) -> float:
    """Seconds between two starts of a kind that its rate limit allows each worker; 0: no limit."""
    limit: Any = getattr(current_app.tasks.get(kind), "rate_limit", None)
    per_second = 0 if current_app.conf.worker_disable_rate_limits else rate(limit)
    return 1 / per_second if per_second else 0.0


def options_of(kind: str) -> dict[str, Any]:
    """What the declaration of a kind says to Celery of its messages."""
    task = current_app.tasks.get(kind)
    options = extract_exec_options(task) if task is not None else {}
    return {name: value for name, value in options.items() if value is not None}


def _name(exchange: Any) -> str:
    return str(getattr(exchange, "name", exchange) or "")


def _queue_of(options: Mapping[str, Any]) -> str:
    """The one queue that messages with these options reach; '' where it is not known."""
    queue, exchange = options.get("queue"), options.get("exchange")
    if queue is not None:
        return str(queue.name)
    if exchange is None:
        return str(current_app.conf.task_default_queue)
    address = _name(exchange), str(options.get("routing_key") or "")
    known = current_app.amqp.queues.values()
    reached = {one.name for one in known if _reaches(*address, queue=one)}
    return str(reached.pop()) if len(reached) == 1 else ""


def _reaches(exchange: str, routing_key: str, *, queue: Any) -> bool:
    """Whether `queue` gets what is sent to `exchange` with `routing_key`."""
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
