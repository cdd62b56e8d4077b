"""The commands that operators give in the admin: each is a service, a permission and its texts."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from async_reply import services
from async_reply.admin import reruns, texts
from async_reply.database import alias, errors
from async_reply.exceptions import (
    AlreadyFinished,
    NoSuchStep,
    NotAsked,
    NotCancelable,
    NotFinished,
    NotRunning,
    OperationGone,
    UnknownKind,
)
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.services import cancellation, process_commands
from async_reply.status import ACTIVE, CANCELABLE, FINAL, Status

#: The codename of the permission to answer questions, and to keep answers in a rerun.
ANSWER_PERMISSION = "answer_operation"
#: The errors by which a service says that it leaves the operation as it is.
REFUSALS = (
    *(AlreadyFinished, NoSuchStep, NotAsked, NotCancelable, NotFinished, NotRunning),
    *(OperationGone, UnknownKind, reruns.RerunMeanwhile),
)


@dataclass(frozen=True)
class Command:
    """A service that takes one operation."""

    name: str
    label: Any
    #: The codename of the permission, of the app `async_reply`.
    permission: str
    perform: Callable[..., object]
    #: Whether an operation's page shows the button. The service decides once more.
    is_offered: Callable[[Operation], bool]
    #: The message with the number of operations: "%d operations were …"
    done_message: Any
    #: The text that asks for confirmation; '' for a command that needs none.
    warning: Any = ""
    #: The name and the label of a checkbox on the page that asks; None for no checkbox.
    option: tuple[str, Any] | None = None
    #: Whether the service submits a new operation, and takes a key.
    takes_key: bool = False
    #: One more sentence for the operation that is shown.
    consequence: Callable[[Operation], str] = lambda _operation: ""


@dataclass
class Summary:
    """The operations on which a command succeeded, and how often each reason prevented it."""

    #: Each operation with the value that the service returned.
    done: list[tuple[Operation, object]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def run(
    command: Command, operations: Iterable[Operation | None], *, shown_at: float | None = None
) -> Summary:
    """Give the command to each of `operations`; None stands for a row that no longer exists.

    `shown_at` is the time of the page with the command: see `reruns`.
    """
    summary = Summary()
    for operation in operations:
        if operation is None:
            summary.refused[str(_("The operation no longer exists."))] += 1
            continue
        try:
            options: dict[str, Any] = {}
            if command.takes_key and shown_at is not None:
                options["key"] = reruns.key(operation, shown_at=shown_at)
            summary.done.append((operation, command.perform(operation, **options)))
        except REFUSALS as error:
            summary.refused[texts.reason(error)] += 1
        except Error as error:
            if connections[alias()].in_atomic_block or not errors.is_temporary(error):
                raise
            logger.warning("Operation id=%s kind=%s: %s", operation.pk, operation.kind, error)
            summary.refused[str(_("The database cannot be reached: try again."))] += 1
        except OSError:
            # A rerun copies the files of the request.
            logger.exception(
                "Operation id=%s kind=%s: a file cannot be copied", operation.pk, operation.kind
            )
            summary.refused[str(_("The storage failed to copy a file: see the log."))] += 1
    return summary


def _cancel(operation: Operation) -> None:
    if operation.status == Status.CANCELED:
        raise AlreadyFinished(texts.CANCELED)
    services.cancel(operation)


def _delete(operation: Operation) -> None:
    if operation.deleted_at is not None:
        raise OperationGone(texts.DELETED)
    services.delete(operation)


def _may_be_rerun(operation: Operation) -> bool:
    return operation.status in FINAL and not operation.is_gone


def _may_be_deleted(operation: Operation) -> bool:
    return operation.status in FINAL and operation.deleted_at is None


def _may_be_canceled(operation: Operation) -> bool:
    if operation.status not in CANCELABLE:
        return False
    return not cancellation.has_begun(operation) or cancellation.is_cancelable(operation)


def _is_running(operation: Operation) -> bool:
    return operation.status in ACTIVE


def _consequence_of_end(operation: Operation) -> str:
    """Tells the operator how a running operation goes on after the end of its process."""
    if operation.status == Status.CANCELING:
        return gettext("The operation is then canceled.")
    left = operation.max_losses - operation.losses
    if left <= 0:
        return gettext("No losses are left: the operation then fails, and is not run again.")
    return (
        gettext(
            "The attempt counts as lost, and the operation is run again. Losses that are left: %d."
        )
        % left
    )


CANCEL = Command(
    name="cancel",
    label=_("Cancel"),
    permission="cancel_operation",
    perform=_cancel,
    is_offered=_may_be_canceled,
    done_message=ngettext_lazy(
        "%d operation was canceled or asked to stop.",
        "%d operations were canceled or asked to stop.",
    ),
)
RERUN = Command(
    name="rerun",
    label=_("Rerun"),
    permission="rerun_operation",
    perform=services.rerun,
    takes_key=True,
    is_offered=_may_be_rerun,
    done_message=ngettext_lazy(
        "%d operation was submitted again, as a new one.",
        "%d operations were submitted again, as new ones.",
    ),
)
DELETE = Command(
    name="delete",
    label=_("Delete"),
    permission="delete_operation",
    perform=_delete,
    is_offered=_may_be_deleted,
    done_message=ngettext_lazy(
        "The content of %d operation was deleted.", "The content of %d operations was deleted."
    ),
    warning=_(
        "Input, result and files are removed at once and cannot be restored. The client is told "
        "that there is no such operation. The row stays for a while and keeps the idempotency key."
    ),
)
SHOW_STACK = Command(
    name="show-stack",
    label=_("Where is it now"),
    permission="view_operation_payload",
    perform=process_commands.show_stack,
    is_offered=_is_running,
    done_message=ngettext_lazy(
        "The process of %d operation was asked where its job is.",
        "The processes of %d operations were asked where their jobs are.",
    ),
)
END_PROCESS = Command(
    name="end-process",
    label=_("End its process"),
    permission="end_operation_process",
    perform=process_commands.end_process,
    is_offered=_is_running,
    done_message=ngettext_lazy(
        "The process of %d operation was told to end: it does so within seconds.",
        "The processes of %d operations were told to end: they do so within seconds.",
    ),
    warning=_(
        "The process is killed in the middle of the job. The job cannot clean up: its open "
        "transaction is rolled back, and what it has done elsewhere stays half done. Cancel the "
        "operation first if the job may still hear of it."
    ),
    consequence=_consequence_of_end,
)

#: The commands that work on any number of operations.
BULK_COMMANDS = {command.name: command for command in (CANCEL, RERUN, DELETE)}
COMMANDS = {command.name: command for command in (CANCEL, RERUN, DELETE, SHOW_STACK, END_PROCESS)}
