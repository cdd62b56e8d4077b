"""Reruns finished operations: submits their input again, as new operations."""

from async_reply import traces
from async_reply.exceptions import NotFinished, OperationGone
from async_reply.files import inputs, store
from async_reply.logs import logger
from async_reply.models import Operation, OperationFile
from async_reply.services import intake
from async_reply.services.copied_steps import CopiedSteps
from async_reply.services.idempotency import IdempotencyKey
from async_reply.status import FINAL
from async_reply.tasks import get_task


def rerun(
    operation: Operation,
    *,
    from_step: str | int | None = None,
    keep_answers: bool = False,
    key: IdempotencyKey | None = None,
) -> Operation:
    """Submit the input of a finished operation again; returns the new operation.

    With `from_step`, a name or a number, the new operation gets copies of the steps before, and
    goes on behind them. One more than the number of steps lets it go on behind the last one. The
    copies end before the first question, so that a person is asked again. With `keep_answers` they
    have the answers of the other operation, and end before the first question without one.
    If an operation with this `key` exists, it is returned instead.

    Raises NoSuchStep if the operation has stored no such step, NotFinished while it has no
    outcome, OperationGone if it was deleted or has expired, UnknownKind if no task has its name,
    StorageFailed if its files cannot be copied.
    """
    if keep_answers and from_step is None:
        raise ValueError("rerun(keep_answers=True) copies steps: name the first one by from_step.")
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
    if key is not None:
        again.idempotency_digest, again.fingerprint = key.digest, key.fingerprint
    intake.configure(again, task, available_at=None)
    steps = None
    if from_step is not None:
        steps = CopiedSteps(operation, from_step=from_step, keep_answers=keep_answers)
    if steps is not None:
        again.steps = steps.count
        again.kept = operation.kept if steps.are_all else ""
    copies: list[OperationFile] = []
    try:
        _copy_files(operation, again, copies)
        if steps is not None:
            steps.copy_files(again)
        with traces.tracer.submit(again):
            intake.insert(again, copies, perform=None if steps is None else steps.insert)
    except BaseException as error:
        store.delete([*copies, *([] if steps is None else steps.files)])
        is_taken = isinstance(error, intake.KeyTaken)
        earlier = key.find() if key is not None and is_taken else None
        if earlier is None:
            raise
        return earlier
    logger.event("rerun", operation, rerun=again.pk)
    return again


def _copy_files(operation: Operation, again: Operation, copies: list[OperationFile]) -> None:
    """Store a copy of each input file. A failure leaves the copies made so far in `copies`."""
    for row in operation.files.filter(role=OperationFile.Role.INPUT):
        with store.opened_for_reading(row) as content:
            copies.append(inputs.store_input(again, row.field, content, row.name, row.content_type))
