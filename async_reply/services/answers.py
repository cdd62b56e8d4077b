"""Stores answers to the question of a job. It is open while the operation is pending."""

import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from async_reply import conf, lifecycle
from async_reply.database import alias, payloads
from async_reply.database.clock import DatabaseNow
from async_reply.exceptions import AlreadyFinished, NotAsked, UnknownKind
from async_reply.logs import logger
from async_reply.models import Operation, OperationStep
from async_reply.publishing import relay
from async_reply.services.plain import plain
from async_reply.status import FINAL, Status
from async_reply.tasks import get_task

Sort = OperationStep.Sort


def question(operation: Operation, name: str) -> OperationStep | None:
    """The question of this name, open or not; None if the job has not asked it."""
    if "\x00" in name:
        return None  # a URL can hold it, and PostgreSQL refuses such a text
    rows = OperationStep.of(operation)
    row: OperationStep | None = rows.filter(name=name, sort=Sort.QUESTION).first()
    return row


def open_question(operation: Operation) -> OperationStep | None:
    """The question that the job asks now. Without one this costs no statement."""
    if operation.status != Status.PENDING or operation.pause != Sort.QUESTION:
        return None
    rows = OperationStep.of(operation).filter(sort=Sort.QUESTION, value="", exception="")
    row: OperationStep | None = rows.first()
    return row


def serializer_class(operation: Operation, name: str) -> Any:
    """The serializer that the task declares for `name`; None if it declares none."""
    try:
        return get_task(operation.kind).kind.asks.get(name)
    except UnknownKind:
        return None


def answer(
    operation: Operation,
    name: str,
    data: Any,
    *,
    by: str = "",
    context: Mapping[str, Any] | None = None,
) -> OperationStep:
    """Store the answer to the question `name`, so that the job goes on; returns the question.

    The serializer that the task declares validates `data`, with this `context`. `by` says who
    answers. The same answer by the same person again changes nothing. All who have a link to the
    question are one person: nothing tells them apart, or a second try from a first one.
    Raises REST framework's ValidationError; NotAsked where nothing is asked, or it was answered by
    somebody else or otherwise; AlreadyFinished after a cancel.
    """
    while True:
        row = check(operation, name)
        text = _validated(operation, name, data, context or {})
        if not row.is_open:
            if (row.value, row.answered_by) == (text, by):
                return row
            raise NotAsked(f"The question {name!r} was answered by somebody else, or otherwise.")
        if _store(operation, row, text, by):
            logger.event("answered", operation)
            return row
        operation.refresh_from_db()


def check(operation: Operation, name: str) -> OperationStep:
    """The question, which is open or answered; raises AlreadyFinished or NotAsked."""
    row = question(operation, name)
    if row is not None and row.value:
        return row
    if operation.status in FINAL:
        raise AlreadyFinished("The operation has finished: nothing is asked any more.")
    is_asked = operation.status == Status.PENDING and operation.pause == Sort.QUESTION
    if row is None or row.exception or not is_asked:
        raise NotAsked(f"The operation does not ask {name!r} now.")
    return row


def _validated(operation: Operation, name: str, data: Any, context: Mapping[str, Any]) -> str:
    """The answer as JSON, by the serializer that the task declares."""
    cls = serializer_class(operation, name)
    if cls is None:
        raise NotAsked(f"The task does not declare the question {name!r} any more.")
    serializer = cls(data=data, context=dict(context))
    serializer.is_valid(raise_exception=True)
    value = plain(serializer.validated_data, serializer)
    return json.dumps(payloads.to_json(value, limit=conf.get("MAX_INPUT")), ensure_ascii=False)


def _store(operation: Operation, row: OperationStep, text: str, by: str) -> bool:
    """Store the answer, and publish the operation once it is committed; False if it has changed."""
    with transaction.atomic(using=alias()):
        if not lifecycle.answer(operation):
            return False
        operation.publishes += 1
        changes = {"value": text, "answered_by": by, "size": len(text.encode())}
        rows = OperationStep.objects.filter(pk=row.pk)
        rows.update(**changes, ended_at=DatabaseNow())
        row.value, row.answered_by = text, by
        relay.publish_on_commit(operation)
    return True
