"""The commands that operators give in the admin: each is a service, a permission and its texts."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from async_reply import services
from async_reply.database import alias, errors
from async_reply.exceptions import (
    AlreadyFinished,
    NotCancelable,
    NotFinished,
    OperationGone,
    UnknownKind,
)
from async_reply.logs import logger
from async_reply.models import Operation
from async_reply.services import cancellation
from async_reply.status import CANCELABLE, FINAL

#: The errors by which a service says that it leaves the operation as it is.
REFUSALS = (AlreadyFinished, NotCancelable, NotFinished, OperationGone, UnknownKind)


@dataclass(frozen=True)
class Command:
    """A service that takes one operation."""

    name: str
    label: Any
    #: The codename of the permission, of the app `async_reply`.
    permission: str
    perform: Callable[[Operation], object]
    #: Whether an operation's page shows the button. The service decides once more.
    is_offered: Callable[[Operation], bool]
    #: The message with the number of operations: "%d operations were …"
    done_message: Any
    needs_confirmation: bool = False


@dataclass
class Summary:
    """The operations on which a command succeeded, and how often each reason prevented it."""

    #: Each operation with the value that the service returned.
    done: list[tuple[Operation, object]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def run(command: Command, operations: Iterable[Operation | None]) -> Summary:
    """Give the command to each of `operations`; None stands for a row that no longer exists."""
    summary = Summary()
    for operation in operations:
        if operation is None:
            summary.refused[str(_("The operation no longer exists."))] += 1
            continue
        try:
            summary.done.append((operation, command.perform(operation)))
        except REFUSALS as error:
            summary.refused[str(error)] += 1
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


def _delete(operation: Operation) -> None:
    if operation.deleted_at is not None:
        raise OperationGone("The content was already deleted: nothing is left to do.")
    services.delete(operation)


def _may_be_rerun(operation: Operation) -> bool:
    return operation.status in FINAL and not operation.is_gone


def _may_be_deleted(operation: Operation) -> bool:
    return operation.status in FINAL and operation.deleted_at is None


def _may_be_canceled(operation: Operation) -> bool:
    if operation.status not in CANCELABLE:
        return False
    return not cancellation.has_begun(operation) or cancellation.is_cancelable(operation)


CANCEL = Command(
    name="cancel",
    label=_("Cancel"),
    permission="cancel_operation",
    perform=services.cancel,
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
    needs_confirmation=True,
)

COMMANDS = {command.name: command for command in (CANCEL, RERUN, DELETE)}
