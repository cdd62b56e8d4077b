"""Reruns finished operations: submits their input again, as new operations."""

from async_reply.exceptions import NotFinished, OperationGone
from async_reply.files import inputs, store
from async_reply.models import Operation, OperationFile
from async_reply.services import intake
from async_reply.status import FINAL
from async_reply.tasks import get_task


def rerun(operation: Operation) -> Operation:
    """Submit the input of a finished operation again; returns the new operation.

    Raises NotFinished while it has no outcome, OperationGone if it was deleted or has expired,
    UnknownKind if no task has its name, StorageFailed if its files cannot be copied.
    """
    if operation.status not in FINAL:
        raise NotFinished("Only a finished operation can be rerun: cancel it first, or wait.")
    if operation.is_gone:
        raise OperationGone("The operation's input was removed: submit the request again.")
    task = get_task(operation.kind)
    again = Operation(
        owner=operation.owner,
        view=operation.view,
        reply=operation.reply,
        input=operation.input,
        extra=operation.extra,
        retention=operation.retention,
        rerun_of=operation,
    )
    intake.configure(again, task, available_at=None)
    copies: list[OperationFile] = []
    try:
        for row in operation.files.filter(role=OperationFile.Role.INPUT):
            with store.opened_for_reading(row) as content:
                copies.append(
                    inputs.store_input(again, row.field, content, row.name, row.content_type)
                )
        intake.insert(again, copies)
    except BaseException:
        store.delete(copies)
        raise
    return again
