"""Keeps the messages that Celery makes, and puts other ids into them.

Messages of the same kind, queue and priority differ in the id alone, and Celery takes a seventh of
a submit to make one. So Celery makes two of them. If the second is the first with another id, all
later ones are copies. A project that may change single messages, by a router or a signal, gets no
copies.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeAlias

from celery import signals
from celery.app import base
from celery.app.amqp import AMQP
from celery.app.routes import MapRoute, Router

from async_reply.publishing import routing
from async_reply.publishing.configuration import Configuration

#: Signals whose receivers hear of each message, and may change it.
SIGNALS = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
#: The kind, queue and priority of an operation.
Address: TypeAlias = tuple[str, str, int | None]


@dataclass(frozen=True)
class Message:
    """The arguments of `Producer.publish` of kombu, for any id."""

    #: All that the message depends on besides: the configuration, routes and options of the task.
    circumstances: tuple[Any, ...]
    body: Any
    options: Mapping[str, Any]
    #: Whether a second message of Celery was the same.
    is_proved: bool

    def options_for(self, pk: str, reply_to: str) -> dict[str, Any]:
        """The options of the message with this id. Celery has a `reply_to` for each thread."""
        headers = {**self.options["headers"], "id": pk, "root_id": pk}
        return {**self.options, "headers": headers, "correlation_id": pk, "reply_to": reply_to}


_messages: dict[Address, Message] = {}


def find(address: Address, circumstances: tuple[Any, ...] | None) -> Message | None:
    """The message for this address; None if Celery has to make it."""
    message = _messages.get(address)
    if message is None or not message.is_proved or message.circumstances != circumstances:
        return None
    return message


def learn(
    address: Address,
    circumstances: tuple[Any, ...] | None,
    calls: Sequence[tuple[Any, dict[str, Any]]],
    *,
    pk: str,
    reply_to: str,
) -> None:
    """Keep the message of this id that Celery has published by these calls."""
    # A second call would be the event "task-sent".
    if circumstances is None or len(calls) != 1:
        return
    ((body, options),) = calls
    earlier = _messages.get(address)
    is_proved = (
        earlier is not None
        and earlier.circumstances == circumstances
        and earlier.body == body
        and earlier.options_for(pk, reply_to) == options
    )
    _messages[address] = Message(circumstances, body, options, is_proved)


def circumstances(configuration: Configuration, kind: str) -> tuple[Any, ...] | None:
    """All that a message of the kind depends on; None if the project may change single messages.

    In a task of Celery a message has parents. The process is in each message as its origin.
    """
    app, amqp = configuration.app, configuration.app.amqp
    router = amqp.router
    routes = tuple(router.routes)
    is_plain = (
        type(amqp) is AMQP
        and type(router) is Router
        and all(type(route) is MapRoute for route in routes)
        and _sends_by_celery(app)
        and not any(signal.receivers for signal in SIGNALS)
        and app.current_worker_task is None
    )
    if not is_plain:
        return None
    sender = vars(amqp).get("send_task_message")
    return configuration, os.getpid(), router, routes, sender, routing.declared_options(kind)


def _sends_by_celery(app: Any) -> bool:
    """Whether `send_task` is Celery's own. Tracing libraries wrap it."""
    function = type(app).send_task
    is_own = type(function) is FunctionType and function.__globals__ is vars(base)
    return is_own and "send_task" not in vars(app)
